"""Prepare a frozen graph for int8: the same function, written with numbers that int8 represents better."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from export.errors import RequestError
from export.quantization.equalization import equalize
from export.quantization.rounding import round_kernels

if TYPE_CHECKING:
    import numpy as np

    from export.tracing.graph import FrozenGraph, TracedModel

FEWEST_IMAGES = 8  # too few to rescale and round by, and to hold some back for the test

# The quantised files of one export need the same graphs. An entry ends with its traced model.
_made: WeakKeyDictionary[TracedModel, dict[bool, tuple[np.ndarray, FrozenGraph]]] = WeakKeyDictionary()


def check_calibration(traced: TracedModel, calibration: np.ndarray | None, what: str) -> np.ndarray:
    """The calibration images, where they are what `traced` takes; `what` is the file that needs them.

    Raises:
        RequestError: there are none, or they have another shape or type.
    """
    if calibration is None or len(calibration) == 0:
        raise RequestError(f"{what} needs calibration images, and there are none; 100 photos are plenty.")
    if calibration.shape[1:] != traced.input_shape[1:] or calibration.dtype != "float32":
        raise RequestError(
            f"Calibration images are {calibration.dtype} {calibration.shape[1:]}; "
            f"{traced.model.name!r} takes float32 {traced.input_shape[1:]}."
        )
    return calibration


def prepare(traced: TracedModel, calibration: np.ndarray, *, activations: bool) -> FrozenGraph:
    """The frozen graph of `traced` with kernels on int8 steps, chosen for the calibration images.

    TFLite and ONNX Runtime have the same steps. Each change is kept only where images held back from it show less
    noise.

    Args:
        calibration: float32 [n, H, W, C], preprocessed like the network's input. With fewer than FEWEST_IMAGES the
            graph is returned as it is.
        activations: whether activations get fixed int8 ranges too; their channels are then equalised first. Where they
            stay in float or get a range for each image, that would only make the weights harder to round.
    """
    if len(calibration) < FEWEST_IMAGES:
        return traced.frozen
    known = _made.setdefault(traced, {})
    if activations not in known or known[activations][0] is not calibration:
        frozen = traced.frozen
        if activations:
            frozen = equalize(frozen, traced.input_name, calibration)
        known[activations] = (calibration, round_kernels(frozen, traced.input_name, calibration))
    return known[activations][1]
