"""A loaded artifact, or the Keras model, behind one small record: what it declares, and how to call it.

A network's softmax hides errors (an int8 softmax moves in steps of 1/256), so every runtime also gives the logits. They
come from the artifact itself: from a copy in memory that gives what its final softmax receives as a second output. The
file stays as it is, and `predict` always runs the unmodified file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from export.errors import ExportError

if TYPE_CHECKING:
    import keras
    import numpy as np

BATCH = 8  # images at once in TensorFlow
SAME = 1e-6  # by which outputs may differ where batches of another size are added up in another order
Run = Callable[["np.ndarray"], "np.ndarray"]
Tap = Callable[["np.ndarray"], tuple["np.ndarray", "np.ndarray"]]
_T = TypeVar("_T")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as the artifact declares it; None stands for a dimension that is open (the batch)."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Prediction:
    """What an artifact answers to n images.

    Attributes:
        output: What a user gets, float32 [n, ...], dequantized.
        logits: What the final softmax receives, in the same shape; the output where there is no final softmax.
        has_softmax: Whether there is a final softmax.
        output_step: The quantization step of the output; 0 where it is computed in floating point.
    """

    output: np.ndarray
    logits: np.ndarray
    has_softmax: bool = True
    output_step: float = 0.0

    @property
    def kind(self) -> Literal["probabilities", "scores", "features"]:
        """What the output is, by which artifacts name it."""
        import numpy as np

        if self.output.ndim != 2:
            return "probabilities" if self.has_softmax else "features"
        # An ensemble may end in the mean of several softmaxes.
        sums_to_one = (self.output >= 0).all() and np.allclose(self.output.sum(axis=1), 1, atol=1e-4)
        return "probabilities" if self.has_softmax or sums_to_one else "scores"


@dataclass(frozen=True)
class Runtime:
    """A loaded artifact.

    Attributes:
        input: What it declares as its input.
        output: What it declares as its output.
        run: Answers one batch.
        open_tap: Loads the copy that gives the output and the logits of a batch, and returns how to run it; None where
            there is no final softmax.
        threads: How many it computes with; None where the runtime takes what it wants.
        output_step: The quantization step of the output; 0 where it is computed in floating point.
        module: The loaded SavedModel with its other signatures; None for the other formats.
        steps: (scale, zero point) of a quantized input or output, by its name.
        batch: How many images the runtime answers quickest at once, where the batch is open.
    """

    input: TensorSpec
    output: TensorSpec
    run: Run
    open_tap: Callable[[], Tap | None]
    threads: int | None = None
    output_step: float = 0.0
    module: Any = None
    steps: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    batch: int = BATCH

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the artifact's own output, float32 [n, ...], for float32 images [n, height, width, channels]."""
        import numpy as np

        return np.concatenate([np.asarray(self.run(batch), np.float32) for batch in self._batches(images)])

    def predict_with_logits(self, images: np.ndarray) -> Prediction:
        """Return the output and the logits of images; the copy that gives the logits is loaded here.

        Copy and file have the same operations and weights. The file answers the first image. Where the copy gives the
        same, its outputs are those of the file, which need not run again on all the others.
        """
        import numpy as np

        tap = self.open_tap()
        if tap is None:
            output = self.predict(images)
            return Prediction(output, output, has_softmax=False, output_step=self.output_step)
        own = self.predict(images[:1])
        pairs = [tap(batch) for batch in self._batches(images)]
        shape = (len(images), *own.shape[1:])
        output, logits = (np.concatenate(parts).astype(np.float32).reshape(shape) for parts in zip(*pairs, strict=True))
        if not np.allclose(output[:1], own, rtol=0, atol=SAME):  # nor where one is not a number
            output = self.predict(images)
        return Prediction(output, logits, output_step=self.output_step)

    def _batches(self, images: np.ndarray) -> list[np.ndarray]:
        expected, given = self.input.shape[1:], images.shape[1:]
        if len(expected) != len(given) or any(e not in (None, g) for e, g in zip(expected, given, strict=True)):
            raise ExportError(
                f"{self.input.name!r} takes images of shape {_dims(expected)}, but {_dims(given)} was given."
            )
        size = self.batch if self.input.shape[0] is None else self.input.shape[0]
        return [images[start : start + size] for start in range(0, len(images), size)]


def open_keras(model: keras.Model, *, many: bool = False) -> Runtime:
    """Run the Keras model itself, in inference mode: the reference of every comparison.

    Args:
        model: The model.
        many: Whether `predict_with_logits` will be asked for many batches. The model is then traced first, as
            `Model.predict` does it: that takes a second or more and saves a third of each batch.
    """

    def runner(call: Callable[[np.ndarray], Any]) -> Run:
        import keras

        return lambda images: keras.ops.convert_to_numpy(call(images))

    def open_tap() -> Tap | None:
        from kerascnn.surgery.logits import without_softmax

        network = without_softmax(model)
        if network is None:
            return None
        call = partial(network, training=False)
        return partial(_with_softmax, runner(_traced(call, source.shape) if many else call))

    source, target = model.inputs[0], model.outputs[0]
    return Runtime(
        TensorSpec(source.name, tuple(source.shape), "float32"),
        TensorSpec(target.name, tuple(target.shape), "float32"),
        runner(partial(model, training=False)),
        open_tap,
    )


def _traced(call: Callable[[Any], Any], shape: tuple[int | None, ...]) -> Callable[[Any], Any]:
    """Make a graph of a function of images, where Keras runs on TensorFlow; elsewhere return the function itself."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return call
    import tensorflow as tf

    return tf.function(call, autograph=False, input_signature=[tf.TensorSpec(shape)])


def _with_softmax(run: Run, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    logits = run(images)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True), logits


def only(items: Iterable[_T], what: str) -> _T:
    """Return the one item; `what` says what it is.

    Raises:
        ExportError: There is not exactly one.
    """
    items = list(items)
    if len(items) != 1:
        raise ExportError(f"The artifact has {len(items)} {what}s; exactly one is expected.")
    return items[0]


def _dims(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
