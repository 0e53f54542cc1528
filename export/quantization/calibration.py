"""Check calibration inputs, and prepare a frozen graph for int8 with them.

The prepared graph computes the same function, written with numbers that int8 represents better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from export.errors import RequestError
from export.quantization.equalization import equalize, find_sites
from export.quantization.observation import observe
from export.quantization.rounding import round_kernels

if TYPE_CHECKING:
    from export.tracing.freezing import FrozenGraph
    from export.tracing.graph import TracedModel

FEWEST_IMAGES = 8  # fewer are too few to rescale and round by, and to hold some back for the test

_known: WeakKeyDictionary[TracedModel, _Preparation] = WeakKeyDictionary()  # an entry ends with its traced model


def check_calibration(
    traced: TracedModel, calibration: np.ndarray | None, what: str, *, rounds: bool = False
) -> np.ndarray:
    """Return the calibration images, if they are what `traced` takes.

    Args:
        traced: the model to calibrate.
        calibration: float32 [n, H, W, C].
        what: the file that needs them, for messages.
        rounds: whether its weights are useless unless they are rounded for enough images.

    Raises:
        RequestError: there are none or too few, or they have another shape or type.
    """
    if calibration is None or len(calibration) == 0:
        raise RequestError(f"{what} needs calibration images, and there are none; 100 photos are plenty.")
    if rounds and len(calibration) < FEWEST_IMAGES:
        raise RequestError(
            f"{what} needs at least {FEWEST_IMAGES} calibration images to round its weights by, and there are "
            f"{len(calibration)}; 256 photos are best."
        )
    if calibration.shape[1:] != traced.input_shape[1:] or calibration.dtype != "float32":
        raise RequestError(
            f"Calibration images are {calibration.dtype} {calibration.shape[1:]}; "
            f"{traced.model.name!r} takes float32 {traced.input_shape[1:]}."
        )
    return calibration


def check_photos(images: np.ndarray) -> str | None:
    """Return a warning where photos of one color cannot calibrate anything; None where there are none of them."""
    pixels = images.reshape(len(images), -1, images.shape[-1])[:, ::5]  # these show it, in a fifth of the time
    plain = int((pixels.std(axis=1).max(axis=-1) < 1e-3 * max(float(abs(pixels).max()), 1e-6)).sum())
    if not plain:
        return None
    return (
        f"{plain} of the {len(images)} calibration photos have one single color: they do not show what the network "
        "sees, and ranges and sensitivities measured on them collapse. Give photos like those it will see."
    )


def prepare(traced: TracedModel, calibration: np.ndarray, *, activations: bool) -> FrozenGraph:
    """Return the frozen graph of `traced` with kernels on int8 steps that are chosen for the calibration images.

    TFLite and ONNX Runtime have the same steps. A change is kept only where it lowers the noise on images held back
    for the test.

    Args:
        traced: the model.
        calibration: float32 [n, height, width, channels], preprocessed like the network's input. With fewer than
            FEWEST_IMAGES the graph is returned as it is.
        activations: whether activations get fixed int8 ranges too; their channels are then equalized first. Where they
            stay in float or get a range for each image, that would only make the weights harder to round.
    """
    if len(calibration) < FEWEST_IMAGES:
        return traced.frozen
    known = _known.get(traced)
    if known is None or known.calibration is not calibration:
        known = _known[traced] = _Preparation(traced.frozen, traced.input_name, calibration)
    return known.rounded(activations)


class _Preparation:
    """The graphs that the quantized files of one export share, from one run on the calibration images."""

    def __init__(self, frozen: FrozenGraph, input_name: str, calibration: np.ndarray):
        self.frozen, self.input_name, self.calibration = frozen, input_name, calibration
        self.sites = find_sites(frozen)
        self.seen = observe(frozen, input_name, calibration, [site.name for site in self.sites])
        self.graphs: dict[bool, FrozenGraph] = {}

    def rounded(self, activations: bool) -> FrozenGraph:
        equalizing = activations and bool(self.sites)  # without sites, the same graph serves both
        if equalizing not in self.graphs:
            frozen, inputs = self.frozen, self.seen.inputs
            if equalizing:
                equalized = equalize(frozen, self.sites, self.input_name, self.calibration, self.seen.largest)
                frozen = equalized.frozen
                inputs = inputs | {
                    name: inputs[name].divided(factors) for name, factors in equalized.factors.items() if name in inputs
                }
            self.graphs[equalizing] = round_kernels(frozen, inputs)
        return self.graphs[equalizing]
