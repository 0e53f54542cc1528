"""The layers of LeNet-5 that later networks dropped (LeCun, Bottou, Bengio & Haffner 1998, section II.B).

Each is registered, so that saved models load without `custom_objects`. In an exported graph all of them are standard
operators: what depends on weights alone is folded into constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Activation = str | Callable[[Any], Any] | None

# The ten digits as 7x9 pixels, which stand on the third line from below of a 7x12 bitmap, as letters with descenders
# need it. They are our drawing in the manner of the paper's figure 3, not its pixels.
_DIGITS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. ....##. .....## .##.##. ######. ##..... ....##. ##...## ##...##
##...## ...##.. ...##.. ..####. ##..##. .....## ######. ....##. .#####. .######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ...##.. ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
"""


def class_codes(classes: int) -> np.ndarray:
    """The codes of +1 and -1 that the 84 units of F6 should show for each class, shape (classes, 84).

    For 10 classes they are the bitmaps of the digits, row by row, +1 for ink. There are no bitmaps for other numbers of
    classes: they get random codes, the same ones each time, which the paper names as the other choice.
    """
    if classes != 10:
        return np.random.RandomState(0).choice([-1.0, 1.0], (classes, 84)).astype(np.float32)
    rows = [line.split() for line in _DIGITS.split("\n") if line]
    ink = np.array([[[pixel == "#" for pixel in row[digit]] for row in rows] for digit in range(10)])
    framed = np.pad(ink, ((0, 0), (1, 2), (0, 0)))
    return np.where(framed, 1.0, -1.0).astype(np.float32).reshape(10, 84)


@keras.saving.register_keras_serializable(package="kerascnn")
def scaled_tanh(x: Any) -> Any:
    """1.7159 tanh(2x/3), which is 1 at 1 and -1 at -1 and bends most there (equation 6 and appendix A)."""
    return 1.7159 * ops.tanh(x * (2 / 3))


@keras.saving.register_keras_serializable(package="kerascnn")
class TrainableSubsampling(keras.layers.Layer):
    """Pooling that learns: the sum of each 2x2 square times a coefficient plus a bias, one of each a map.

    Input: (batch, height, width, channels); output: (batch, height // 2, width // 2, channels).
    """

    def __init__(self, activation: Activation = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        channels = input_shape[-1]
        self.coefficient = self.add_weight(shape=(channels,), initializer=fan_in_uniform(4), name="coefficient")
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        means = ops.average_pool(inputs, 2, 2, padding="valid", data_format="channels_last")
        coefficient = ops.cast(self.coefficient, means.dtype)
        return self.activation(means * (4 * coefficient) + ops.cast(self.bias, means.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        height, width = (None if side is None else side // 2 for side in input_shape[1:3])
        return (input_shape[0], height, width, input_shape[3])

    def connections(self) -> int:
        """Four inputs and a bias for each unit."""
        return 5 * units(self)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable(package="kerascnn")
class PartialConv2D(keras.layers.Layer):
    """An unpadded convolution in which each output map sees only some of the input maps.

    Its kernel holds the weights of the connections that exist, (kernel_size, kernel_size, connected pairs of maps), and
    no others. They are laid out into the kernel of an ordinary convolution when it runs.

    Args:
        table: for each output map, the numbers of the input maps that it sees.
        kernel_size: of the square kernel, in pixels.
        activation: applied to the sum.

    Input: (batch, height, width, channels); output: (batch, height - kernel_size + 1, ..., len(table)).

    Raises:
        ValueError: the table names a map that the input does not have, or one twice for the same output.
    """

    def __init__(self, table: Sequence[Sequence[int]], kernel_size: int, activation: Activation = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.table = tuple(tuple(sources) for sources in table)
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        channels, size = input_shape[-1], self.kernel_size
        for output, sources in enumerate(self.table):
            if not sources or len(set(sources)) < len(sources) or not set(sources) <= set(range(channels)):
                raise ValueError(
                    f"Output map {output} of {self.name} is to see the input maps {list(sources)}: each may be named "
                    f"once, at least one must be, and they go from 0 to {channels - 1}."
                )
        pairs = [(source, output) for output, sources in enumerate(self.table) for source in sources]
        self._layout = np.zeros((len(pairs), channels, len(self.table)), np.float32)
        for i, pair in enumerate(pairs):
            self._layout[i, *pair] = 1
        fan_in = np.array([size * size * len(self.table[output]) for _, output in pairs], np.float32)
        self.kernel = self.add_weight(
            shape=(size, size, len(pairs)),
            initializer=lambda shape, dtype: fan_in_uniform(1)(shape, dtype) / ops.convert_to_tensor(fan_in, dtype),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(len(self.table),), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        pairs, channels, outputs = self._layout.shape
        # A product with a constant is exact here, has the right gradient, and folds into one kernel in every export.
        weights = ops.reshape(ops.cast(self.kernel, inputs.dtype), (-1, pairs))
        kernel = ops.matmul(weights, ops.convert_to_tensor(self._layout.reshape(pairs, -1), inputs.dtype))
        kernel = ops.reshape(kernel, (self.kernel_size, self.kernel_size, channels, outputs))
        sums = ops.conv(inputs, kernel, strides=1, padding="valid", data_format="channels_last")
        return self.activation(sums + ops.cast(self.bias, sums.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        sides = (None if side is None else side - self.kernel_size + 1 for side in input_shape[1:3])
        return (input_shape[0], *sides, len(self.table))

    def multiply_accumulates(self) -> int:
        """Of the connections that exist: what a convolution over all pairs of maps spends on zeros is not counted."""
        return units(self) // len(self.table) * math.prod(self.kernel.shape)

    def connections(self) -> int:
        """The products, and a bias for each unit."""
        return self.multiply_accumulates() + units(self)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        own = {"table": [list(sources) for sources in self.table], "kernel_size": self.kernel_size}
        return {**super().get_config(), **own, "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable(package="kerascnn")
class RadialBasis(keras.layers.Layer):
    """Minus the squared Euclidean distance between the input and the code of each class.

    The paper's unit gives the distance itself (equation 7), of which the smallest is the answer. With the sign changed
    the outputs are logits like any others, and a softmax over them is the probability of each class.

    Args:
        codes: shape (classes, size). They are kept as a weight that is not trained, (size, classes).

    Input: (batch, size); output: (batch, classes).
    """

    def __init__(self, codes: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.codes = np.asarray(codes, np.float32)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.prototypes = self.add_weight(
            shape=self.codes.T.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(self.codes.T, dtype),
            trainable=False,
            name="prototypes",
        )

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        # -|x - w|^2 = 2 x.w - |x|^2 - |w|^2: a dense layer less one number an image
        prototypes = ops.cast(self.prototypes, inputs.dtype)
        products = ops.matmul(inputs, 2 * prototypes) - ops.sum(ops.square(prototypes), axis=0)
        return products - ops.sum(ops.square(inputs), axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return (input_shape[0], len(self.codes))

    def multiply_accumulates(self) -> int:
        """One for each component of each code."""
        return self.codes.size

    def connections(self) -> int:
        """The same; there are no biases."""
        return self.codes.size

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "codes": self.codes.tolist()}


@keras.saving.register_keras_serializable(package="kerascnn")
class DistanceLoss(keras.losses.Loss):
    """What LeNet-5 was trained with (section II.C), for a network that ends in `RadialBasis` without an activation.

    Written with y_i for the distance to the code of class i, and D for the right class, the loss of an image is

        y_D                                         (equation 8) without j, and
        y_D + log(exp(-j) + sum_i exp(-y_i))        (equation 9) with it.

    The second is the cross-entropy with one more class, of images that show nothing, whose distance is always j. It
    keeps the other distances from growing without end.

    Args:
        j: distance of the additional class, positive, or None for equation 8. The paper does not print its value.

    Labels: whole numbers, shape (batch,) or (batch, 1); predictions: minus the distances, (batch, classes).
    """

    def __init__(self, j: float | None = None, name: str = "distance_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if j is not None and j <= 0:
            raise ValueError(f"j must be positive, or None for the plain distance; it is {j}.")
        self.j = j

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Apply it."""
        labels = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        distances = -ops.sum(labels * y_pred, axis=-1)
        if self.j is None:
            return distances
        others = ops.logsumexp(ops.pad(y_pred, ((0, 0), (0, 1)), constant_values=-self.j), axis=-1)
        return distances + others

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "j": self.j}


def fan_in_uniform(fan_in: int) -> keras.initializers.Initializer:
    """Initial weights between -2.4 / F and 2.4 / F, F being the number of inputs of the unit (appendix A)."""
    return keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)


def units(layer: keras.layers.Layer) -> int:
    """Numbers that a layer puts out for one image.

    Raises:
        ValueError: a side of the input is None.
    """
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(
            f"The output of {layer.name} has the shape {layer.output.shape}: build the model with a fixed input_shape "
            "to count its connections."
        )
    return math.prod(shape)
