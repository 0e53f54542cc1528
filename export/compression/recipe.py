"""Run all steps of a compression, and record what each of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.compression import clustering, distillation, pruning
from export.compression.fitting import share_weights
from export.compression.networks import check_model, log_probabilities
from export.compression.pace import Pace, plan
from export.compression.sequence import Reference
from export.compression.states import Recorder, Score, Step
from export.errors import RequestError
from export.quantization.calibration import check_photos
from export.report.progress import Progress, Silent

if TYPE_CHECKING:
    import keras

    from export.compression.sensitivity import Sensitivity

BITS = 8
FEWEST_PHOTOS = 16


def compress(
    model: keras.Model,
    images: np.ndarray,
    *,
    sparsity: float | None = None,
    bits: int = BITS,
    target_bytes: int | None = None,
    tuning_steps: int | None = None,
    score: Score | None = None,
    sensitivities: Mapping[str, Sensitivity] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Step]:
    """Prune, share weights, and fine-tune on the answers of the network as it was.

    Args:
        model: a functional classifier; changed in place.
        images: photos like those it will see, float32 [n, height, width, channels], as the model takes them.
        sparsity: the share of zeros to prune the whole network to, where its weights matter least. With None only
            sharing makes zeros.
        bits: 1 to 8: at most 2**bits values a layer. Most layers take fewer.
        target_bytes: how large the coded file may be; by default, as small as a divergence of `fitting.DIVERGENCE`
            allows.
        tuning_steps: steps of fine-tuning. The default is distillation.STEPS after pruning, and none without: training
            a few values on a few photos does not bring back what sharing alone costs.
        score: gives the accuracy of a model, for the record of each step.
        sensitivities: of the model on `images`, where they were measured before.
        seed: of all that is random.
        progress: is given each step.

    Returns:
        The steps, each with the network before and after it.

    Raises:
        RequestError: the model or the request cannot be compressed; this is checked before any work. Or the target
            cannot be reached.
    """
    progress = progress or Silent()
    check(model, sparsity, bits, target_bytes)
    log_probabilities(model)
    _check_images(images, progress)
    if tuning_steps is None:
        tuning_steps = 0 if sparsity is None else distillation.STEPS
    record = Recorder(model, score)
    work = plan(model, len(images), measured=bool(sensitivities), to_size=target_bytes is not None, tuning=tuning_steps)
    pace = Pace(progress.step, work)
    reference = Reference.of(model, images, sensitivities, seed, pace.part("measuring"))
    if sparsity is not None:
        progress.step(f"pruning to {100 * sparsity:.0f} % zeros")
        with record.step("prune", sparsity=sparsity):
            pruning.prune(model, sparsity, whole=True, sensitivities=reference.sensitivities)
    with record.step("cluster", bits=bits, target_bytes=target_bytes):
        share_weights(model, reference, bits, target_bytes, pace)
    if tuning_steps:
        with record.step("fine-tune", steps=tuning_steps, photos=len(images)):
            distillation.fine_tune(
                model, images, teacher=reference.model, steps=tuning_steps, seed=seed, step=pace.part("tuning")
            )
            clustering.round_to_half(model)
    return record.steps


def _check_images(images: np.ndarray, progress: Progress) -> None:
    """Refuse photos that are too few, and warn of those that show nothing."""
    if len(images) < FEWEST_PHOTOS:
        raise RequestError(
            f"{len(images)} photos are too few to measure which weights matter; give {FEWEST_PHOTOS} or more, better a "
            "hundred."
        )
    warning = check_photos(images)
    if warning:
        progress.warn(warning)


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
