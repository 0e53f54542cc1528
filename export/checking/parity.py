"""Compare an artifact with the Keras model it came from, and say in a sentence what is wrong with it.

The comparison is made on logits: an int8 softmax moves in steps of 1/256, so that a healthy artifact of a network with
1,000 classes may answer with zeros only. The artifact's own output is then held against the softmax of its own logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from export.checking.runtimes import Prediction, Runtime, TensorSpec
from export.formats.precision import LEAST_SQNR_DB, Precision

RELATIVE_ERROR_LIMIT = 1e-4
AGREEMENT_LIMIT = 0.98
SOFTMAX_TOLERANCE = 1e-5
# SQNR of identical numbers is infinite, which JSON cannot say; float32 arithmetic ends near 150 dB.
SQNR_CEILING_DB = 200.0


@dataclass(frozen=True)
class Demands:
    """What is demanded of an artifact.

    Attributes:
        precision: Decides how close its logits have to be.
        input: The input that it has to declare.
        output: The output that it has to declare.
        real_images: Whether it is compared on photos; only then are the best classes of a quantized artifact judged.
    """

    precision: Precision
    input: TensorSpec
    output: TensorSpec
    real_images: bool = False

    @property
    def gate(self) -> str:
        """What is demanded of the logits, in words."""
        least = self.precision.least_sqnr_db
        if least is None:
            return f"relative error of the logits <= {RELATIVE_ERROR_LIMIT:g}"
        text = f"SQNR of the logits >= {least:g} dB"
        if self.precision.has_judged_classes and self.real_images:
            text += f", top-1 agreement >= {AGREEMENT_LIMIT:.0%} of the images that the model is sure of"
        return text


@dataclass(frozen=True)
class Parity:
    """How close an artifact is to its model.

    Attributes:
        passed: Whether there is no failure.
        images: How many images were compared.
        relative_error: max|difference| / max|reference|, on the logits; infinite when nothing could be compared.
        sqnr_db: Signal to quantization noise of the logits, at most 200 dB; minus infinity when not compared.
        top1_agreement: The share of all images whose best class is the model's, 0..1.
        clear_agreement: The same among the `clear_images`.
        clear_images: How many images the model is sure enough of (see `clear_margin`).
        gate: What was demanded, in words.
        failures: A sentence for each demand that was not met.
    """

    passed: bool
    images: int
    relative_error: float
    sqnr_db: float
    top1_agreement: float
    clear_agreement: float
    clear_images: int
    gate: str
    failures: tuple[str, ...]


class _Closeness(NamedTuple):
    """The numbers of a `Parity`, as they are when nothing could be compared."""

    relative_error: float = math.inf
    sqnr_db: float = -math.inf
    top1_agreement: float = 0.0
    clear_agreement: float = 0.0
    clear_images: int = 0


def verify(
    open_runtime: Callable[[], Runtime], reference: Prediction, images: np.ndarray, demands: Demands
) -> tuple[Parity, Prediction | None]:
    """Load an artifact, run it on images, and compare it with what the Keras model answered.

    Args:
        open_runtime: Loads the artifact; whatever it raises becomes a failure.
        reference: The Keras model's answer to `images`.
        images: float32 [n, height, width, channels], as the artifact takes them.
        demands: What is demanded of it.

    Returns:
        How close it is, and what it answered; None where it could not be run.
    """
    failures: list[str] = []
    closeness, prediction = _Closeness(), None
    try:
        runtime = open_runtime()
        failures += _interface_failures(runtime, demands)
        prediction = runtime.predict_with_logits(images)
    except Exception as error:  # a bad artifact is a finding here, whatever it makes the runtime raise
        reason = " ".join(str(error).split()) or "no reason given"
        failures.append(f"The artifact could not be loaded and run ({type(error).__name__}): {reason[:500]}")
    else:
        blocking = _incomparable(prediction, reference)
        failures += blocking
        if not blocking:
            theirs, ours = _compared(prediction, reference)
            closeness, errors = _measure(theirs, ours)
            failures += _gate_failures(demands, closeness, errors)
            failures += _softmax_failures(prediction)
    return Parity(not failures, len(images), *closeness, demands.gate, tuple(failures)), prediction


def clear_margin(logits: np.ndarray) -> float:
    """Return how far apart two logits must lie for the order of their classes to survive the noise that is allowed.

    It is three standard deviations of a difference of two logits that each carry the noise of an SQNR at its limit. It
    follows from the reference [n, ..., classes] and the gate alone, so that a noisy artifact cannot excuse itself. The
    mean of each image's logits is left out of the signal: the softmax does not see it.
    """
    rows = _rows(logits)
    signal = float(np.sqrt(np.mean((rows - rows.mean(axis=1, keepdims=True)) ** 2)))
    return 3 * math.sqrt(2) * signal * 10 ** (-LEAST_SQNR_DB["int8"] / 20)


def synthetic_images(
    shape: tuple[int | None, ...], count: int, seed: int = 0, low: float = -1.0, high: float = 1.0
) -> np.ndarray:
    """Make color images with the statistics of photos, the same ones for the same seed.

    The amplitudes of a photo fall as 1/frequency (Field, 1987), from large shapes to fine texture, mostly in gray. A
    trained network answers to that nearly as to photos; on smooth or white images its logits are so small that a
    healthy int8 artifact looks broken. The channels differ in level and pattern, so that swapping them shows.

    Args:
        shape: (height, width, channels), or (None, height, width, channels) as a model states it.
        count: How many images.
        seed: The seed of the random numbers.
        low: The least value of a prepared pixel.
        high: The greatest value of a prepared pixel.

    Returns:
        float32 [count, height, width, channels] within low..high.
    """
    height, width, channels = (int(size) for size in shape[-3:] if size is not None)
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # no level of its own
    fields = np.fft.rfft2(random.normal(size=(count, channels + 1, height, width))) / frequency**1.2
    patterns = _standardized(np.fft.irfft2(fields, s=(height, width)), (2, 3))
    mixed = _standardized(patterns[:, :1] + patterns[:, 1:], (1, 2, 3))
    level = ((np.arange(channels) + 0.5) / channels - 0.5)[:, None, None]
    values = np.clip(0.5 + 0.25 * mixed + 0.3 * level, 0, 1)
    return np.ascontiguousarray(low + (high - low) * np.moveaxis(values, 1, -1), np.float32)


def _standardized(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return values / np.maximum(values.std(axis=axes, keepdims=True), np.finfo(np.float64).tiny)


def _interface_failures(runtime: Runtime, demands: Demands) -> list[str]:
    failures = []
    for what in ("input", "output"):
        declared, demanded = getattr(runtime, what), getattr(demands, what)
        for field in ("name", "shape", "dtype"):
            given, wanted = getattr(declared, field), getattr(demanded, field)
            if given != wanted:
                failures.append(f"The {what}'s {field} is {given!r}; {wanted!r} was expected.")
    return failures


def _incomparable(prediction: Prediction, reference: Prediction) -> list[str]:
    """Say what forbids a comparison by numbers."""
    for values in (reference.logits, reference.output):
        if not np.isfinite(values).all():
            return ["The Keras model itself answers with NaN or infinity; look at its weights."]
    if prediction.output.shape != reference.output.shape:
        return [f"The output's shape is {prediction.output.shape}; the model's is {reference.output.shape}."]
    for values, what in ((prediction.output, "output"), (prediction.logits, "logits")):
        if not np.isfinite(values).all():
            broken = int((~np.isfinite(_rows(values)).all(axis=1)).sum())
            return [f"The artifact's {what} has NaN or infinity for {broken} of {len(values)} images."]
    if reference.has_softmax and not prediction.has_softmax:
        return ["The model ends in a softmax and the artifact does not."]
    return []


def _compared(prediction: Prediction, reference: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the artifact's rows and the model's: logits, or outputs of a network without a final softmax."""
    if reference.has_softmax:
        return _rows(prediction.logits), _rows(reference.logits)
    return _rows(prediction.output), _rows(reference.output)


def _measure(theirs: np.ndarray, ours: np.ndarray) -> tuple[_Closeness, int]:
    """Compare rows; also count the clear images whose best class differs."""
    tiny = float(np.finfo(np.float64).tiny)
    difference = theirs - ours
    noise, signal = float(np.sum(difference**2)), float(np.sum(ours**2))
    sqnr = 10 * math.log10(max(signal, tiny) / max(noise, tiny)) if noise else SQNR_CEILING_DB
    agrees = theirs.argmax(axis=1) == ours.argmax(axis=1)
    best = np.sort(ours, axis=1)[:, -2:]
    clear = best[:, -1] - best[:, 0] > clear_margin(ours)
    clear_images, errors = int(clear.sum()), int((clear & ~agrees).sum())
    closeness = _Closeness(
        relative_error=float(np.abs(difference).max() / max(float(np.abs(ours).max()), tiny)),
        sqnr_db=min(sqnr, SQNR_CEILING_DB),
        top1_agreement=float(agrees.mean()),
        clear_agreement=1 - errors / max(clear_images, 1),
        clear_images=clear_images,
    )
    return closeness, errors


def _gate_failures(demands: Demands, closeness: _Closeness, errors: int) -> list[str]:
    precision, least = demands.precision, demands.precision.least_sqnr_db
    if least is None:
        error = closeness.relative_error
        if error <= RELATIVE_ERROR_LIMIT:
            return []
        return [f"The logits differ by {error:.2g} of the largest one; {RELATIVE_ERROR_LIMIT:g} is allowed."]
    failures = []
    if closeness.sqnr_db < least:
        failures.append(f"The logits' SQNR is {closeness.sqnr_db:.1f} dB; {precision.name} needs {least:g} dB.")
    # Below 50 images a single one is more than two in a hundred: one proves nothing.
    allowed = max(1, (1 - AGREEMENT_LIMIT) * closeness.clear_images)
    if precision.has_judged_classes and demands.real_images and errors > allowed:
        failures.append(
            f"The best class differs on {errors} of the {closeness.clear_images} images that the model is sure of; "
            f"{AGREEMENT_LIMIT:.0%} have to agree."
        )
    return failures


def _softmax_failures(prediction: Prediction) -> list[str]:
    if not prediction.has_softmax:
        return []
    logits = prediction.logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    error = float(np.abs(prediction.output - powers / powers.sum(axis=-1, keepdims=True)).max())
    # A quantized softmax rounds by half a step, and its highest value, 255/256, is a whole step below 1.
    allowed = SOFTMAX_TOLERANCE + 1.5 * prediction.output_step
    if error <= allowed:
        return []
    return [
        f"The output differs from the softmax of the artifact's own logits by {error:.2g}; {allowed:.2g} is allowed."
    ]


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)
