"""The ranges that int8 is made with are those of the activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from export.formats.tflite_ranges import quick_calibration, with_ranges

Ranges = dict[int, tuple[float, float]]


def network() -> keras.Model:
    """Build a network whose activations are negative too, are joined and are read twice."""
    image = keras.Input((16, 16, 3))
    first = keras.layers.Conv2D(8, 3, padding="same")(image)
    second = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6")(first)
    joined = keras.layers.Concatenate()([keras.layers.MaxPooling2D(2)(first), keras.layers.AveragePooling2D(2)(second)])
    added = keras.layers.Add()([keras.layers.Conv2D(16, 1)(joined), joined])
    return keras.Model(image, keras.layers.Dense(5, activation="softmax")(keras.layers.Flatten()(added)))


@pytest.fixture(scope="module")
def flatbuffer() -> bytes:
    """The network as a float32 file."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    content: bytes = tf.lite.TFLiteConverter.from_keras_model(network()).convert()
    return content


def samples(scale: float = 3.0) -> Iterator[list[np.ndarray]]:
    random = np.random.default_rng(0)
    for _ in range(6):
        yield [random.normal(0.5, scale, size=(1, 16, 16, 3)).astype(np.float32)]


def ranges(flatbuffer: bytes) -> Ranges:
    from tensorflow.lite.tools import flatbuffer_utils

    content: Any = flatbuffer_utils.convert_bytearray_to_object(flatbuffer)
    found = {i: tensor.quantization for i, tensor in enumerate(content.subgraphs[0].tensors)}
    return {i: (float(q.min[0]), float(q.max[0])) for i, q in found.items() if q is not None and q.min is not None}


def test_they_are_those_of_every_operation_alone(flatbuffer: bytes) -> None:
    """TensorFlow's calibrator has the same tensors, with wider ranges where an addition writes over what it adds."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    measured = with_ranges(flatbuffer, samples())
    assert measured is not None
    alone = Interpreter(
        model_content=flatbuffer,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    alone.allocate_tensors()
    seen: dict[int, list[np.ndarray]] = {index: [] for index in ranges(measured)}
    for (sample,) in samples():
        alone.set_tensor(alone.get_input_details()[0]["index"], sample)
        alone.invoke()
        for index, values in seen.items():
            values.append(alone.get_tensor(index))
    theirs = ranges(Calibrator(flatbuffer).calibrate(samples))
    assert theirs.keys() == seen.keys()
    assert len(seen) > 6
    for index, (low, high) in ranges(measured).items():
        assert (low, high) == pytest.approx((np.min(seen[index]), np.max(seen[index])), rel=1e-5, abs=1e-5)
        assert theirs[index][0] <= low + 1e-4
        assert theirs[index][1] >= high - 1e-4


def test_the_converter_takes_them_and_has_its_own_back_afterwards(flatbuffer: bytes) -> None:
    from tensorflow.lite.python import lite
    from tensorflow.lite.python.optimize import calibrator

    original = calibrator.Calibrator
    with quick_calibration():
        assert lite._calibrator.Calibrator is not original
        content = lite._calibrator.Calibrator(flatbuffer).calibrate(samples)
    assert content == with_ranges(flatbuffer, samples())
    assert calibrator.Calibrator is original


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_values_without_end_are_left_to_tensorflow(flatbuffer: bytes) -> None:
    assert with_ranges(flatbuffer, samples(scale=1e38)) is None


def test_several_inputs_are_told_apart() -> None:
    import tensorflow as tf

    first, second = keras.Input((4,)), keras.Input((3,))
    model = keras.Model([first, second], keras.layers.Concatenate()([first, second]))
    file = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    shapes = [tensor["shape"][1] for tensor in _inputs(file)]
    low, high = np.full((1, shapes[0]), -2, np.float32), np.full((1, shapes[1]), 7, np.float32)
    measured = with_ranges(file, [[low, high]])
    assert measured is not None
    assert sorted(ranges(measured).values()) == [(-2, -2), (-2, 7), (7, 7)]


def _inputs(file: bytes) -> list[dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    details: list[dict[str, Any]] = Interpreter(model_content=file).get_input_details()
    return details
