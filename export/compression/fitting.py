"""Search for the price at which sharing weights gives a file of the wanted size, or the wanted divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from export.compression import clustering
from export.compression.pace import Pace
from export.compression.sequence import Reference, cluster_in_sequence
from export.compression.states import coded_bytes
from export.errors import RequestError

if TYPE_CHECKING:
    import keras
    import numpy as np

DIVERGENCE = 0.008  # nats a photo that sharing may cost, by its own estimate, where no size is asked for
_PRICE = 2e-7
_TRIES = 6
_FULL = 0.985  # of the size that was asked for is near enough
_SLOPE = 0.12  # bytes fall with this power of the price


def share_weights(model: keras.Model, reference: Reference, bits: int, target_bytes: int | None, pace: Pace) -> None:
    """Share the weights of a network in the order of its layers, to a size or to DIVERGENCE.

    Args:
        model: changed in place.
        reference: the network before any change.
        bits: at most 2**bits values a layer.
        target_bytes: how large the coded file may be; None: as small as DIVERGENCE allows.
        pace: told of the progress.

    Raises:
        RequestError: sharing alone does not reach the target.
    """
    original = model.get_weights()
    price = _find_price(model, reference, bits, target_bytes, pace.part("attempts"))
    step = pace.part("order")
    best: tuple[int, list[np.ndarray]] | None = None
    # In sequence the same price gives other sizes: correct it, in both directions.
    for _ in range(_TRIES):
        model.set_weights(original)
        cluster_in_sequence(model, reference, bits, price=price, step=step)
        if target_bytes is None:
            return
        size = coded_bytes(model)
        if size <= target_bytes:
            if best is not None and size <= best[0]:
                break  # the bits allow no more
            best = (size, model.get_weights())
            if size >= _FULL * target_bytes:
                break
        price *= (2 * size / ((1 + _FULL) * target_bytes)) ** (1 / _SLOPE)
    if best is None:
        raise _unreachable(model, target_bytes)
    model.set_weights(best[1])


def _find_price(
    model: keras.Model, reference: Reference, bits: int, target_bytes: int | None, step: Callable[[str], None]
) -> float:
    """Return the price with the highest quality within `target_bytes`, or with the smallest size within DIVERGENCE.

    All layers are shared at once here, which is quicker.
    """
    original = model.get_weights()
    goal = float(target_bytes or DIVERGENCE)

    def value_at(price: float) -> float:
        model.set_weights(original)
        expected = clustering.cluster(model, bits, price=price, sensitivities=reference.sensitivities)
        return float(coded_bytes(model)) if target_bytes else expected

    # Bytes fall with the price, the divergence grows with it: both nearly as a power of it.
    slope = -_SLOPE if target_bytes else 0.8
    tolerance = _FULL if target_bytes else 0.9
    price, before, best, best_value = _PRICE, None, None, 0.0
    for number in range(_TRIES):
        step(f"sharing weights, attempt {number + 1} of at most {_TRIES}")
        value = value_at(price)
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
        price *= min(max((aim / value) ** (1 / slope), 1 / 64), 64)
    if best is None:
        raise _unreachable(model, target_bytes)
    return best


def _unreachable(model: keras.Model, target_bytes: int | None) -> RequestError:
    target = f"{target_bytes:,} bytes" if target_bytes else f"{DIVERGENCE:,} nats"
    return RequestError(
        f"{model.name} does not get down to {target} by sharing weights alone. Ask for more, or prune too (--prune; "
        "from Python: sparsity=)."
    )
