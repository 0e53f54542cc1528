"""All steps of a compression, to a size or to a divergence, and what each of them cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.compression import clustering, distillation, pruning, sensitivity
from export.compression.networks import check_model, check_photos, log_probabilities
from export.compression.sequence import cluster_in_sequence
from export.compression.states import Recorder, Score, Step, coded_bytes
from export.errors import RequestError
from export.report.progress import Progress, Silent

if TYPE_CHECKING:
    import keras

DIVERGENCE = 0.008  # nats a photo that sharing may cost, by its own estimate, where no size is asked for
BITS = 8
FEWEST_PHOTOS = 16
_PRICE = 2e-7
_TRIES = 6
_FULL = 0.985  # of the size that was asked for is near enough
_SLOPE = 0.12  # bytes fall with this power of the price


def compress(
    model: keras.Model,
    images: np.ndarray,
    *,
    sparsity: float | None = None,
    bits: int = BITS,
    target_bytes: int | None = None,
    tuning_steps: int | None = None,
    score: Score | None = None,
    sensitivities: Mapping[str, sensitivity.Sensitivity] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Step]:
    """Prune, share weights, and fine-tune on the answers of the network as it was.

    Args:
        model: a functional classifier; changed in place.
        images: photos like those it will see, float32 [n, height, width, channels], as the model takes them.
        sparsity: the share of zeros to prune the whole network to, where its weights matter least; None: no pruning
            beyond what sharing does by itself.
        bits: 1 to 8: at most 2**bits values a layer. Most layers take fewer.
        target_bytes: how large the coded file may be; by default, as small as a divergence of DIVERGENCE allows.
        tuning_steps: steps of fine-tuning; by default distillation.STEPS after pruning, and none without: what sharing
            alone costs, training a few values on a few photos does not bring back.
        score: gives the accuracy of a model, for the record of each step.
        sensitivities: of the model on `images`, where they were measured before.
        seed: of all that is random.
        progress: told of each step.

    Raises:
        RequestError: the model or what is asked for cannot be compressed so; before any work. Or the target cannot be
            reached.
    """
    progress = progress or Silent()
    check(model, sparsity, bits, target_bytes)
    log_probabilities(model)
    if len(images) < FEWEST_PHOTOS:
        raise RequestError(
            f"{len(images)} photos are too few to measure which weights matter; give {FEWEST_PHOTOS} or more, better a "
            "hundred."
        )
    warning = check_photos(images)
    if warning:
        progress.warn(warning)
    if tuning_steps is None:
        tuning_steps = 0 if sparsity is None else distillation.STEPS
    teacher = copy(model)
    record = Recorder(model, score)
    measured = sensitivities or sensitivity.measure(model, images, seed=seed, step=progress.step)
    if sparsity is not None:
        progress.step(f"pruning to {100 * sparsity:.0f} % zeros")
        with record.step("prune", sparsity=sparsity):
            pruning.prune(model, sparsity, whole=True, sensitivities=measured)
    with record.step("cluster", bits=bits, target_bytes=target_bytes):
        pruned = model.get_weights()
        price = _cluster_to(model, bits, target_bytes, measured, progress.step)
        # In sequence the same price gives other sizes: correct it, in both directions.
        fitting: tuple[int, list[np.ndarray]] | None = None
        for _ in range(_TRIES):
            model.set_weights(pruned)
            cluster_in_sequence(
                model, teacher, images, bits, price=price, sensitivities=measured, seed=seed, step=progress.step
            )
            if target_bytes is None:
                break
            size = coded_bytes(model)
            if size <= target_bytes:
                if fitting is not None and size <= fitting[0]:
                    break  # all that the bits allow
                fitting = (size, model.get_weights())
            if _FULL * target_bytes <= size <= target_bytes:
                break
            price *= (2 * size / ((1 + _FULL) * target_bytes)) ** (1 / _SLOPE)
        if target_bytes is not None:
            if fitting is None:
                raise RequestError(_unreachable(model, target_bytes))
            model.set_weights(fitting[1])
    if tuning_steps:
        with record.step("fine-tune", steps=tuning_steps, photos=len(images)):
            distillation.fine_tune(model, images, teacher=teacher, steps=tuning_steps, seed=seed, step=progress.step)
            clustering.round_to_half(model)
    return record.steps


def check(model: keras.Model, sparsity: float | None, bits: int, target_bytes: int | None) -> None:
    """Refuse what `compress` could not do.

    Raises:
        RequestError: the model cannot be compressed, or a number is out of range.
    """
    check_model(model)
    if sparsity is not None:
        pruning.check(model, sparsity)
    clustering.bits_by_layer(model, bits)
    if target_bytes is not None and target_bytes <= 0:
        raise RequestError(f"The coded file cannot have {target_bytes} bytes.")


def copy(model: keras.Model) -> keras.Model:
    """The same network with weights of its own."""
    import keras

    from kerascnn.keras_graph import deep_graphs

    with deep_graphs():
        twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def _cluster_to(
    model: keras.Model,
    bits: int,
    target_bytes: int | None,
    sensitivities: Mapping[str, sensitivity.Sensitivity],
    step: Callable[[str], None],
) -> float:
    """Share weights at the highest quality within `target_bytes`, or at the smallest size within DIVERGENCE.

    Returns:
        The price at which that is so.
    """
    original = model.get_weights()
    goal = float(target_bytes or DIVERGENCE)

    def tried(price: float) -> float:
        model.set_weights(original)
        expected = clustering.cluster(model, bits, price=price, sensitivities=sensitivities)
        return float(coded_bytes(model)) if target_bytes else expected

    # Bytes fall with the price, the divergence grows with it: both nearly as a power of it.
    slope = -_SLOPE if target_bytes else 0.8
    tolerance = _FULL if target_bytes else 0.9
    price, before, best, best_value = _PRICE, None, None, 0.0
    for number in range(_TRIES):
        step(f"sharing weights, attempt {number + 1} of at most {_TRIES}")
        value = tried(price)
        if best_value < value <= goal:
            best, best_value = price, value
            if value >= tolerance * goal:
                break
        if before is not None and value != before[1] and price != before[0]:
            slope = math.log(value / before[1]) / math.log(price / before[0])
        before = (price, value)
        if not slope:
            break
        aim = (1 + tolerance) / 2 * goal
        factor = min(max((aim / value) ** (1 / slope), 1 / 64), 64)
        price *= factor
    if best is None:
        raise RequestError(_unreachable(model, target_bytes))
    return best


def _unreachable(model: keras.Model, target_bytes: int | None) -> str:
    return (
        f"{model.name} does not get down to {target_bytes or DIVERGENCE:,} {'bytes' if target_bytes else 'nats'} "
        "by sharing weights alone. Ask for more, or prune too (--prune; from Python: sparsity=)."
    )
