"""`profile`: what it counts on networks small enough to count by hand, and what it says of what it cannot count."""

import time
import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers, ops

import kerascnn
from kerascnn.analysis import count_macs, effective_receptive_field, profile, receptive_field
from kerascnn.analysis.calls import read_calls
from kerascnn.analysis.memory import peak_memory
from kerascnn.registry import variants
from tests.networks import structure


def small():
    """A convolution, a residual unit of two, a classifier."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = shortcut = layers.Activation("relu", name="relu")(x)
    x = layers.Conv2D(8, 3, padding="same", name="first")(x)
    x = layers.Add(name="sum")([x, shortcut])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="classes")(x), name="small")


@pytest.mark.smoke
def test_layers_by_hand():
    table = profile(small())
    stem, norm, first, classes = (table[name] for name in ("stem", "norm", "first", "classes"))
    assert (stem.output, stem.parameters, stem.macs, stem.memory_kib) == ((8, 8, 8), 216, 64 * 216, 2.0)
    assert (norm.parameters, norm.untrained, norm.macs) == (16, 16, 0)
    assert (first.parameters, first.macs) == (584, 64 * 576)
    assert (classes.parameters, classes.macs) == (90, 80)
    assert (table.parameters, table.untrained) == (216 + 16 + 584 + 90, 16)
    assert table.macs == count_macs(small()) == 64 * (216 + 576) + 80
    assert (table.flops(), table.flops("lecture")) == (2 * table.macs, table.macs + 512)
    assert sum(layer.share for layer in table.layers) == pytest.approx(1)
    assert table.unknown == ()
    assert profile(small(), dtype="float16")["stem"].memory_kib == 1.0


def test_receptive_field_by_hand():
    table = profile(small())
    stem, total = table["stem"].field.height, table["sum"].field.height
    assert (stem.size, stem.jump, stem.start) == (3, 2, 0)  # "same" pads an even side at its end alone
    assert (total.size, total.jump, total.start, total.padding) == (7, 2, -2, 2)
    assert not table["sum"].field.whole
    assert table["pool"].field.whole
    assert table["pool"].field.height.size == 7 + 7 * 2


def test_memory_of_a_forward_pass_by_hand():
    """Elements: image 768, each map 512. The sum needs its two inputs and itself; normalisation is done in place."""
    table = profile(small())
    assert table.peak.elements == 768 + 3 * 512
    assert peak_memory(table.graph, keep_inputs=False).elements == 3 * 512
    assert table.peak.at == "sum"
    assert table.peak.optimal
    # maps of stem, norm, relu, first, sum, then pool and classes
    assert table.forward_kib * 256 == 5 * 512 + 8 + 10
    # gradients need: the image, the inputs of norm and first (the output of relu), of classes, and its output
    assert table.training_kib * 256 == 768 + 512 + 512 + 8 + 10


def test_peak_equals_the_memory_that_numpy_takes():
    """Maps of the shapes of the graph are made and dropped in the order that is named, and traced."""
    image = keras.Input((64, 64, 8), name="image")
    wide = layers.Conv2D(64, 1, name="wide")(image)
    narrow = layers.Conv2D(8, 1, name="narrow")(wide)
    other = layers.AveragePooling2D(4, 1, padding="same", name="other")(image)
    table = profile(keras.Model(image, layers.Concatenate(name="both")([other, narrow])))
    side = np.dtype("float32").itemsize * 64 * 64
    tracemalloc.start()
    maps = {"image": np.zeros((64, 64, 8), np.float32)}
    maps["wide"] = np.repeat(maps["image"], 8, axis=-1)
    maps["narrow"] = maps["wide"][..., :8].copy()
    del maps["wide"]
    maps["other"] = maps["image"] + 0
    maps["both"] = np.concatenate([maps["other"], maps["narrow"]], axis=-1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.peak_kib * 1024 == side * (8 + 64 + 8)
    assert peak == pytest.approx(table.peak_kib * 1024, rel=0.01)
    assert table.peak.order.index("narrow") < table.peak.order.index("other")


def test_the_order_of_branches_is_chosen():
    """As built, the image waits in memory while the wide map is there; with the other branch first it need not."""
    image = keras.Input((8, 8, 4), name="image")
    wide = layers.Conv2D(100, 1, name="wide")(layers.Conv2D(1, 1, name="thin")(image))
    branches = [layers.Conv2D(2, 1, name="last")(wide), layers.Conv2D(3, 1, name="other")(image)]
    graph = read_calls(keras.Model(image, layers.Concatenate(name="both")(branches)))
    built, best = (peak_memory(graph, best=best, keep_inputs=False) for best in (False, True))
    assert (built.elements, built.at, built.optimal) == (64 * (4 + 100 + 2), "last", False)
    assert (best.elements, best.at, best.optimal) == (64 * (3 + 100 + 2), "last", True)
    assert best.order.index("other") < best.order.index("wide")


def test_nothing_is_written_over_that_is_read_again():
    image = keras.Input((4, 4, 4), name="image")
    x = layers.Conv2D(4, 1, name="conv")(image)
    flat = layers.Reshape((8, 8, 1), name="view")(x)
    changed = layers.Reshape((4, 4, 4), name="back")(layers.Activation("relu", name="relu")(flat))
    table = profile(keras.Model(image, layers.Add(name="sum")([x, changed])))
    assert table.peak.elements == 4 * 64  # the image, x, its ReLU, and their sum


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ratio"), [("squeezenet1_1", 1.0), ("resnet18", 1.0), ("googlenet", 1.0), ("densenet121", 1.1)]
)
def test_peak_equals_the_memory_that_tflite_plans(name, ratio):
    """Its arena after allocation: from the lowest to the highest address of what operators write.

    DenseNet has normalisation in front of its convolutions, which TFLite cannot fuse.
    """
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = kerascnn.create_model(name)
    resolver = OpResolverType.BUILTIN_REF  # whose convolutions need no scratch space
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    written = {interpreter.get_input_details()[0]["index"]}
    for operator in interpreter._get_ops_details():
        written.update(operator["outputs"])
    arrays = [interpreter.tensor(index)() for index in sorted(written)]
    starts = [array.__array_interface__["data"][0] for array in arrays]
    arena = max(start + array.nbytes for start, array in zip(starts, arrays, strict=True)) - min(starts)
    assert arena / (profile(model).peak_kib * 1024) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("name", ["lenet5_1998", "squeezenet1_1", "resnet20_cifar", "fractalnet20_cifar", "googlenet"])
def test_totals_equal_the_table_of_facts(name):
    row = variants()[name]
    table = profile(structure(name))
    fixed = 840 if name == "lenet5_1998" else 0  # the codes of its outputs
    assert (table.parameters, table.untrained) == (row.parameters, row.statistics + fixed)
    assert table.macs == row.macs[row.input_shape[0]]
    assert table.unknown == ()
    assert table.peak.optimal


def test_time_of_a_deep_network():
    model = structure("resnet152")
    start = time.perf_counter()
    table = profile(model)
    assert table.peak.optimal
    assert time.perf_counter() - start < 0.5
    assert table["conv5_block3_out"].field.size == (1507, 1507)  # Araujo et al. 2019, resnet_v1_152


def test_nested_models_are_opened():
    inner = small()
    image = keras.Input((16, 16, 3), name="photo")
    whole = keras.Model(image, layers.Dense(2, name="two")(inner(layers.Rescaling(1 / 255)(image))))
    table = profile(whole)
    assert table["small/first"].macs == 64 * 576
    assert table.macs == count_macs(small()) + 20
    assert table["small/sum"].field.size == (7, 7)
    twice = keras.Model(image, layers.Average()([inner(image), inner(layers.Rescaling(2.0)(image))]))
    assert profile(twice).macs == 2 * count_macs(small())
    assert profile(twice).parameters == profile(small()).parameters
    sequence = keras.Sequential([keras.Input((16, 16, 3)), inner, layers.Dense(2)])
    assert profile(sequence).macs == table.macs


def test_a_nested_model_of_any_size_takes_the_size_it_is_called_on():
    anything = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(anything)
    inner = keras.Model(anything, layers.GlobalAveragePooling2D()(x), name="trunk")
    image = keras.Input((10, 12, 3))
    table = profile(keras.Model(image, inner(image)))
    assert (table["trunk/conv"].output, table.macs) == ((8, 10, 4), 80 * 108)
    with pytest.raises(ValueError, match=r"has the shape \(None, None, 3\).*input_shape=\(224, 224, 3\)"):
        profile(inner)
    assert profile(inner, input_shape=(10, 12, 3)).macs == 80 * 108
    with pytest.raises(ValueError, match="input_shape is .height, width, channels."):
        profile(inner, input_shape=(10, 12))


def test_what_is_not_known_is_named_and_never_zero():
    @keras.saving.register_keras_serializable(package="tests")
    class Mystery(layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], shape[-1]))

        def call(self, x):
            return ops.matmul(x, self.matrix)

    class Tricky(layers.Dense):
        """Derived from a layer that is known, and does more than that."""

        def call(self, x):
            return super().call(x) + super().call(2 * x)

    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = ops.matmul(Mystery(name="mystery")(x), np.eye(4, dtype="float32"))
    x = Tricky(4, name="tricky")(layers.Conv2D(4, 3, name="later")(x))
    table = profile(keras.Model(image, ops.relu(x)))
    assert {"mystery", "tricky"} < set(table.unknown)
    assert len(table.unknown) == 3  # and the product
    assert table["mystery"].macs is None
    assert table["mystery"].parameters == 16
    assert table.macs == table["conv"].macs + table["later"].macs
    assert table["later"].field is None


def test_clear_errors():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"'\w+' \(Own\) has no graph.*subclassed"):
        profile(Own())
    with pytest.raises(TypeError, match="A Keras model is needed; this is str"):
        profile("resnet50")
    with pytest.raises(ValueError, match="dtype is one of float64, float32.*it is 'float8'"):
        profile(small(), dtype="float8")
    with pytest.raises(ValueError, match='"2x", "macs" or "lecture"'):
        profile(small()).flops("4x")
    with pytest.raises(ValueError, match="no layer 'stam'"):
        receptive_field(small(), "stam")
    with pytest.raises(ValueError, match="no layer 'fir'.*contain it: first"):
        receptive_field(small(), "fir")


def test_effective_field_is_exactly_the_theoretical_one_where_nothing_can_cancel():
    """With positive kernels and no activation every pixel of the field, and no other, has a gradient."""
    image = keras.Input((41, 45, 2))
    positive = {"kernel_initializer": keras.initializers.RandomUniform(0.1, 1.0), "use_bias": False}
    x = layers.ZeroPadding2D(((2, 1), (0, 3)))(image)
    x = layers.Conv2D(3, (5, 3), strides=2, **positive)(x)
    x = layers.AveragePooling2D(2, 2, padding="same")(x)
    y = layers.DepthwiseConv2D(3, dilation_rate=2, depthwise_initializer=positive["kernel_initializer"])(x)
    y = layers.Concatenate()([y, layers.Cropping2D(2)(x)])
    model = keras.Model(image, layers.Conv2D(2, 1, name="end", **positive)(y))
    field = receptive_field(model, "end")
    effective = effective_receptive_field(model, "end", images=1)
    rows, columns = np.nonzero(effective.any(axis=1))[0], np.nonzero(effective.any(axis=0))[0]
    shape = model.outputs[0].shape
    for axis, pixels, places in ((field.height, rows, shape[1]), (field.width, columns, shape[2])):
        first = axis.start + (places // 2) * axis.jump
        assert (pixels[0], pixels[-1]) == (first, first + axis.size - 1)
        assert axis.jump == 4
    assert effective.max() == 1
    assert effective.shape == (41, 45)


def test_squeeze_and_excitation_sees_the_whole_image():
    table = profile(structure("seresnet18", input_shape=(64, 64, 3)))
    whole = [layer.field.whole for layer in table.layers if len(layer.output) == 3 and layer.output[0] > 1]
    assert not whole[0]
    assert whole[-1]
    assert table["conv5_block2_out"].field.size == (435, 435)  # what its convolutions alone see
