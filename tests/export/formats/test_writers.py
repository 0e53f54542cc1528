"""The three writers, on small networks that hold every structure the real ones have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from export.errors import ExportError, RequestError  # noqa: E402
from export.formats import onnx_symmetric  # noqa: E402
from export.formats.onnx import write_onnx  # noqa: E402
from export.formats.saved_model import write_saved_model  # noqa: E402
from export.formats.tensorflow_lite import function_converter  # noqa: E402
from export.formats.tflite import TFLite, write_tflite  # noqa: E402
from export.formats.tflite_runtime import batches  # noqa: E402
from export.tracing.folding import folded  # noqa: E402
from export.tracing.graph import trace  # noqa: E402
from export.tracing.half import in_half  # noqa: E402
from kerascnn.keras_graph import tensorflow_convolutions  # noqa: E402
from tests import processes  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Build = Callable[[], keras.Model]

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers
COMPUTING = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BiasAdd")


class Normalization(layers.Layer):
    """Caffe's local response normalisation, as the networks of 2012 use it."""

    def call(self, inputs: Any) -> Any:
        return tf.nn.local_response_normalization(inputs, depth_radius=2, bias=2.0, alpha=1e-2, beta=0.75)


def fire() -> keras.Model:
    inputs = keras.Input((33, 33, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = layers.MaxPooling2D(3, 2)(x)
    squeezed = layers.Conv2D(4, 1, activation="relu")(x)
    expanded = [layers.Conv2D(8, size, padding="same", activation="relu")(squeezed) for size in (1, 3)]
    x = layers.Dropout(0.5)(layers.Concatenate()(expanded))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(10, 1)(x))
    # Called like the output on purpose: the two names must not get in each other's way.
    return keras.Model(inputs, layers.Softmax(name="probabilities")(x), name="fire")


def grouped() -> keras.Model:
    inputs = keras.Input((32, 32, 4))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D(3, 2)(Normalization()(x))
    x = layers.Conv2D(16, 3, groups=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 3, groups=8, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="grouped")


def flattened() -> keras.Model:
    inputs = keras.Input((16, 16, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(6, 3, padding="same", activation="relu")(inputs))
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Dropout(0.5)(x)), name="flattened")


def residual() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 7, strides=2, use_bias=False)(layers.ZeroPadding2D(3)(inputs))
    x = shortcut = layers.ReLU()(layers.BatchNormalization()(x))
    for stride in (1, 2):
        y = layers.Conv2D(16, 3, stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(16, 1)(y))  # Keras's own ResNets have a bias here
        shortcut = layers.BatchNormalization()(layers.Conv2D(16, 1, stride, use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    # Pre-activation: a normalisation that cannot be folded into the convolution before it.
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Activation("softmax")(x), name="residual")


NETWORKS: dict[str, Build] = {build.__name__: build for build in (fire, grouped, flattened, residual)}


class Case:
    """A network with random weights and random statistics, traced, and what Keras says about three images."""

    def __init__(self, build: Build) -> None:
        keras.utils.set_random_seed(7)
        random = np.random.default_rng(7)
        self.model = build()
        for variable in self.model.weights:
            if len(variable.shape) == 1:  # biases and everything of a batch normalisation
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
        self.traced = trace(self.model)
        self.images = random.uniform(-1, 1, (3, *self.model.input_shape[1:])).astype("float32")
        self.expected = np.asarray(self.model(self.images, training=False))


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(NETWORKS[request.param])


class Compiled(layers.Layer):
    """A layer with a tf.function of its own, as users write them."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 4))
        self.offset = self.add_weight(shape=(4,))

    @tf.function
    def _convolve(self, inputs: Any) -> Any:
        return tf.nn.conv2d(inputs, self.kernel, 1, "SAME") + self.offset

    def call(self, inputs: Any) -> Any:
        return self._convolve(inputs)


def shared() -> keras.Model:
    """One convolution before two normalisations, a depthwise one with a multiplier, and a function call."""
    inputs = keras.Input((12, 12, 4))
    convolution = layers.Conv2D(4, 3, padding="same")
    x = layers.BatchNormalization()(convolution(Compiled()(inputs)))
    x = layers.Add()([layers.BatchNormalization()(convolution(x)), convolution(x), x])
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2)(x))
    x = layers.BatchNormalization()(layers.Dense(6)(layers.GlobalMaxPooling2D()(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="shared")


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def onnx_nodes(path: Path) -> list[Any]:
    import onnx

    return list(onnx.load(path).graph.node)


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # as in `open_onnx`
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


def run_tflite(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Outputs of the signature, dequantised, image by image, and the names of the operations."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["images"], "outputs": ["probabilities"]}}
    (input_details,) = interpreter.get_input_details()
    (output_details,) = interpreter.get_output_details()
    assert (input_details["name"], output_details["name"]) == ("images", "probabilities")
    assert input_details["shape"][0] == output_details["shape"][0] == 1
    runner = interpreter.get_signature_runner()
    outputs = []
    for image in images:
        scale, zero_point = input_details["quantization"]
        if input_details["dtype"] == np.int8:
            image = np.clip(np.round(image / scale) + zero_point, -128, 127).astype(np.int8)
        output = runner(images=image[None])["probabilities"][0]
        if output_details["dtype"] == np.int8:
            scale, zero_point = output_details["quantization"]
            output = (output.astype(np.float32) - zero_point) * scale
        outputs.append(output)
    # pylint: disable-next=protected-access
    return np.stack(outputs), [operation["op_name"] for operation in interpreter._get_ops_details()]


def test_trace_keeps_names_shapes_and_values(case: Case) -> None:
    """Every format starts from this function."""
    traced = case.traced
    outputs = traced.function(tf.constant(case.images))
    assert list(outputs) == ["probabilities"]
    assert traced.input_shape == case.model.input_shape
    assert traced.output_shape == case.model.output_shape
    assert relative_error(outputs["probabilities"].numpy(), case.expected) < 1e-6


def test_graphs_hold_no_xla_call_and_no_variable_once_frozen(case: Case) -> None:
    """Keras wraps grouped convolutions in an XLA call that ONNX cannot express."""
    assert not {"StatefulPartitionedCall", "PartitionedCall"} & {
        op.type for op in case.traced.function.graph.get_operations()
    }
    frozen = {node.op for node in case.traced.frozen.graph_def.node}
    assert not {op for op in frozen if "Variable" in op or "VarHandle" in op or "Call" in op}


def test_tracing_leaves_keras_as_it_was() -> None:
    """The change to Keras's convolution holds during the trace only."""
    model = fire()
    model.call = mock.Mock(side_effect=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        trace(model)
    assert tensorflow_convolutions().tf.function is tf.function


@pytest.mark.smoke
def test_saved_model(case: Case, tmp_path: Path) -> None:
    """A server needs the signature, variables rather than constants, and any batch size."""
    folder = tmp_path / "saved_model" / "1"
    write_saved_model(case.traced, folder)
    loaded = tf.saved_model.load(folder)  # its functions hold their variables weakly
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["images"].shape.as_list() == [None, *case.images.shape[1:]]
    assert len(signature.variables) == len(case.traced.variables) > 0
    for count in (1, 3):
        outputs = signature(images=tf.constant(case.images[:count]))
        assert list(outputs) == ["probabilities"]
        assert relative_error(outputs["probabilities"].numpy(), case.expected[:count]) < 1e-5


def test_saved_model_without_normalization(case: Case, tmp_path: Path) -> None:
    """Only kernels are variables; normalization is folded into them, and the rest is constant."""
    write_saved_model(folded(case.traced), tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    assert len(loaded.signatures["serving_default"].variables) == len(case.traced.frozen.kernels)
    assert not [node.op for node in loaded.network.graph.as_graph_def().node if node.op.startswith("FusedBatchNorm")]
    actual = loaded.signatures["serving_default"](images=tf.constant(case.images))["probabilities"]
    assert relative_error(actual.numpy(), case.expected) < 1e-5


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_saved_model_with_every_activation(precision: str, tmp_path: Path) -> None:
    """Some, such as swish, bring a gradient of their own along, which a graph that was rebuilt has no function for."""
    image = keras.Input((8, 8, 3), name="images")
    convolved = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    names = (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid "
        "log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparsemax "
        "squareplus tanh tanh_shrink"
    )
    joined = layers.Concatenate()([layers.Activation(name)(convolved) for name in names.split()])
    after = layers.Activation("swish")(layers.DepthwiseConv2D(3)(joined))
    model = keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(after)))
    traced = trace(model, output_name="scores")
    write_saved_model(folded(traced) if precision == "float32" else in_half(traced, precision), tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    actual = loaded.signatures["serving_default"](images=tf.constant(images))["scores"]
    assert relative_error(actual.numpy(), np.asarray(model(images))) < (1e-5 if precision == "float32" else 1e-2)


def test_a_kernel_that_two_layers_share_is_one_variable() -> None:
    shared, image = layers.Conv2D(3, 3, padding="same"), keras.Input((8, 8, 3), name="images")
    traced = trace(keras.Model(image, layers.Flatten()(shared(layers.ReLU()(shared(image))))))
    assert len(traced.frozen.kernels) == 2
    assert len(folded(traced).variables) == 1


def test_a_network_with_a_loop_is_not_folded() -> None:
    class Repeated(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

        def call(self, x: Any) -> Any:
            return keras.ops.fori_loop(0, tf.shape(x)[0] + 1, lambda _, value: value * self.factor, x)

    image = keras.Input((8, 8, 3), name="images")
    traced = trace(keras.Model(image, layers.Flatten()(Repeated()(layers.Conv2D(4, 3)(image)))))
    assert folded(traced) is traced


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 4e-3), ("bfloat16", 8 * 4e-3)])
def test_saved_model_in_half_precision(case: Case, dtype: str, tolerance: float, tmp_path: Path) -> None:
    """Convolutions compute in half precision and weights are stored so; the interface and the softmax are float32."""
    half = in_half(case.traced, dtype)
    write_saved_model(half, tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    signature = loaded.signatures["serving_default"]
    actual = signature(images=tf.constant(case.images))["probabilities"]
    assert actual.dtype == tf.float32
    assert relative_error(actual.numpy(), case.expected) < tolerance
    kernels = [variable for variable in loaded.weights if len(variable.shape) > 1]
    assert {variable.dtype.name for variable in kernels} == {dtype}
    assert len(kernels) == len(case.traced.frozen.kernels)
    types = {node.attr["T"].type for node in loaded.network.graph.as_graph_def().node if node.op in COMPUTING}
    assert types == {tf.as_dtype(dtype).as_datatype_enum}


def test_a_weight_of_which_only_the_shape_is_read_is_left_out_of_half_precision() -> None:
    """As the position embeddings of KerasHub read it, to know how many positions there are."""

    class Scaled(layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(64, 64), name="table")

        def call(self, x: Any) -> Any:
            return x * tf.cast(tf.shape(self.table)[0], x.dtype) / 64.0

    image = keras.Input((8, 8, 3), name="images")
    model = keras.Model(image, layers.Flatten()(Scaled()(layers.Conv2D(4, 3)(image))))
    half = in_half(trace(model), "float16")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    (answer,) = half.function(tf.constant(images)).values()
    assert relative_error(np.asarray(answer), np.asarray(model(images))) < 0.005
    assert (64, 64) not in [tuple(variable.shape) for variable in half.own_variables]


def test_weights_that_half_precision_cannot_hold_are_refused() -> None:
    case = Case(fire)
    (kernel, *_) = [variable for variable in case.model.weights if len(variable.shape) == 4]
    kernel.assign(kernel * 1e7)
    with pytest.raises(ExportError, match="too large for float16"):
        in_half(trace(case.model), "float16")
    in_half(trace(case.model), "bfloat16")


@pytest.mark.smoke
def test_onnx(case: Case, tmp_path: Path) -> None:
    """Names, an open batch, standard operations, one layout change, and the right numbers."""
    import onnx

    path = tmp_path / "model.onnx"
    write_onnx(case.traced, path, metadata={"labels": "a,b"})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"labels": "a,b"}
    (images,), (probabilities,) = model.graph.input, model.graph.output
    assert (images.name, probabilities.name) == ("images", "probabilities")
    for value, shape in ((images, case.images.shape), (probabilities, case.expected.shape)):
        dimensions = value.type.tensor_type.shape.dim
        assert dimensions[0].dim_param == "batch"
        assert [dimension.dim_value for dimension in dimensions[1:]] == list(shape[1:])
    operations = [node.op_type for node in model.graph.node]
    # A dense layer on a flattened map needs the map back in the order of its weights.
    assert operations.count("Transpose") == (2 if case.model.name == "flattened" else 1)
    assert not {"Cast", "Shape", "Gather", "BatchNormalization"} & set(operations)
    for count in (1, 3):
        assert relative_error(run_onnx(path, case.images[:count]), case.expected[:count]) < 1e-5


def test_onnx_has_native_grouped_convolution_and_lrn(tmp_path: Path) -> None:
    """Both are one node in ONNX; tf2onnx would leave the first as an XLA call, and the scaling of LRN differs."""
    import onnx

    path = tmp_path / "model.onnx"
    write_onnx(Case(grouped).traced, path)
    nodes = onnx_nodes(path)
    groups = [onnx.helper.get_node_attr_value(node, "group") for node in nodes if node.op_type == "Conv"]
    assert sorted(groups) == [1, 2, 8, 16]
    (normalization,) = [node for node in nodes if node.op_type == "LRN"]
    # ONNX divides alpha by the window of 5; TensorFlow does not.
    assert onnx.helper.get_node_attr_value(normalization, "size") == 5
    assert onnx.helper.get_node_attr_value(normalization, "alpha") == pytest.approx(5e-2)


def test_onnx_folds_batch_normalization(tmp_path: Path) -> None:
    """A normalisation left beside its convolution makes the network slower."""
    path = tmp_path / "model.onnx"
    write_onnx(Case(residual).traced, path)
    operations = [node.op_type for node in onnx_nodes(path)]
    assert operations.count("Conv") == 7
    assert operations.count("Mul") == 1  # the pre-activation
    assert operations.count("Add") == 3 + 1  # two shortcuts, the pre-activation, and perhaps the dense bias


def test_scales_move_only_into_kernels_of_their_own(tmp_path: Path) -> None:
    """A shared convolution has another scale at each place, and a depthwise kernel another order of channels."""
    case = Case(shared)
    write_onnx(case.traced, tmp_path / "model.onnx")
    assert relative_error(run_onnx(tmp_path / "model.onnx", case.images), case.expected) < 1e-5
    assert not {"Mul", "Sub", "Sqrt"} & {node.op_type for node in onnx_nodes(tmp_path / "model.onnx")}
    write_tflite(case.traced, tmp_path / "model.tflite", "float32", None)
    assert relative_error(run_tflite(tmp_path / "model.tflite", case.images)[0], case.expected) < 1e-5
    write_saved_model(case.traced, tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    outputs = loaded.signatures["serving_default"](tf.constant(case.images))["probabilities"].numpy()
    assert relative_error(outputs, case.expected) < 1e-5


@pytest.mark.parametrize("opset", [9, 13, 18, 23])
def test_other_opsets_are_valid(opset: int, tmp_path: Path) -> None:
    """The whole range that the error message promises."""
    import onnx

    for build in NETWORKS.values():
        case = Case(build)
        path = tmp_path / f"{case.model.name}.onnx"
        write_onnx(case.traced, path, opset=opset)
        onnx.checker.check_model(path, full_check=True)
        assert relative_error(run_onnx(path, case.images), case.expected) < 1e-5


def test_onnx_int8(case: Case, tmp_path: Path) -> None:
    """Weights really are int8, the interface stays, and the numbers are near."""
    import onnx

    path = tmp_path / "model.onnx"
    write_onnx(case.traced, path, "int8", case.images, metadata={"labels": "a,b"})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {entry.key: entry.value for entry in model.metadata_props} == {"labels": "a,b"}
    (images,), (probabilities,) = model.graph.input, model.graph.output
    assert (images.name, probabilities.name) == ("images", "probabilities")
    for value in (images, probabilities):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    kernels = {t.data_type for t in model.graph.initializer if len(t.dims) == 4 and np.prod(t.dims) > t.dims[1]}
    assert kernels == {onnx.TensorProto.INT8}
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert producers["probabilities"] != "DequantizeLinear"  # 1,000 probabilities in steps of 1/256 would be lost
    assert relative_error(run_onnx(path, case.images), case.expected) < 0.1


@pytest.mark.parametrize("opset", [17, 20])
def test_onnx_int8_symmetric(case: Case, opset: int, tmp_path: Path) -> None:
    """What the parser of TensorRT demands, read from the file: signed steps, every zero point 0, biases in float."""
    import onnx

    path = tmp_path / "model.onnx"
    write_onnx(case.traced, path, "int8-symmetric", case.images, opset=opset)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", opset)}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {array.dtype.name for array in constants.values()} <= {"int8", "float32", "int64"}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    quantizing = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantizing
    for node in quantizing:
        value, scale, zero_point = node.input
        assert (constants[scale] > 0).all()
        assert not constants[zero_point].any()
        if node.op_type == "QuantizeLinear":
            assert [reader.op_type for reader in readers[node.output[0]]] == ["DequantizeLinear"]
            assert constants[scale].ndim == 0
        elif value in constants:
            assert constants[value].dtype == np.int8
            assert constants[scale].size in (1, *constants[value].shape)
    sources = {name: node.op_type for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in onnx_symmetric.WEIGHTED]
    assert layers
    for node in layers:
        assert [sources.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert all(constants[name].dtype == np.float32 for name in node.input[2:])
    assert relative_error(run_onnx(path, case.images), case.expected) < 0.1


def test_onnx_float16(case: Case, tmp_path: Path) -> None:
    """Kernels and arithmetic are half precision, but for the softmax; the interface stays."""
    import onnx

    path = tmp_path / "model.onnx"
    write_onnx(case.traced, path, "float16", metadata={"labels": "a,b"})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"labels": "a,b"}
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    kernels = {t.data_type for t in model.graph.initializer if len(t.dims) == 4}
    assert kernels == {onnx.TensorProto.FLOAT16}
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for node in model.graph.node:
        if node.op_type in ("Conv", "Softmax"):
            wanted = onnx.TensorProto.FLOAT16 if node.op_type == "Conv" else onnx.TensorProto.FLOAT
            assert types.get(node.input[0], wanted) == wanted, node.op_type
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:  # what a softmax gives is not rounded
        if node.op_type == "Cast" and producers.get(node.input[0]) is not None:
            assert producers[node.input[0]].op_type != "Softmax"
    assert relative_error(run_onnx(path, case.images), case.expected) < 0.005


@pytest.mark.parametrize("precisions", [("float16", "int8"), ("int8", "float16")])
def test_onnx_is_written_after_the_path_was_put_back(precisions: tuple[str, str], tmp_path: Path) -> None:
    """ONNX Runtime's tools find one another by a folder on the path, which whoever restores the path takes off."""
    code = f"""
import sys
import numpy as np, keras
from export.formats.onnx import write_onnx
from export.tracing.graph import trace
traced = trace(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]))
images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
for precision in {precisions}:
    path = list(sys.path)
    write_onnx(traced, __import__("pathlib").Path({str(tmp_path)!r}) / precision, precision, images)
    sys.path[:] = path
"""
    done = processes.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / precision).stat().st_size for precision in precisions)


def test_onnx_int8_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    case = Case(fire)
    for arguments, says in (
        (("int8", None), "calibration images"),
        (("int8", np.zeros((2, 8, 8, 3), np.float32)), "takes float32"),
        (("dynamic", None), "float32, float16, int8"),
    ):
        with pytest.raises(RequestError, match=says):
            write_onnx(case.traced, tmp_path / "model.onnx", *arguments)
    with pytest.raises(RequestError, match="opset 13"):
        write_onnx(case.traced, tmp_path / "model.onnx", "int8", case.images, opset=12)
    with pytest.raises(RequestError, match="up to opset 20"):
        write_onnx(case.traced, tmp_path / "model.onnx", "int8-symmetric", case.images, opset=21)


def test_int16_activations_keep_the_probabilities_of_many_classes(tmp_path: Path) -> None:
    """TFLite's own int16 softmax gives each of 1,000 unlikely classes 0.00005, and takes that from the best one."""
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(1000, 3)(inputs))
    model = keras.Model(inputs, layers.Softmax()(x))
    kernel, bias = model.layers[1].get_weights()
    bias[0] = 15
    model.layers[1].set_weights([kernel, bias])
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    write_tflite(trace(model), tmp_path / "m.tflite", "int16x8", images)
    outputs, _ = run_tflite(tmp_path / "m.tflite", images)
    np.testing.assert_allclose(outputs[:, 0], np.asarray(model(images))[:, 0], atol=2e-3)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("float16", 1e-2), ("dynamic", 5e-2), ("int8", 0.1), ("int8-io", 0.1), ("int16x8", 5e-2)],
)
def test_tflite(case: Case, precision: str, tolerance: float, tmp_path: Path) -> None:
    """Names, batch 1, no operation left over from the open batch, and the right numbers."""
    path = tmp_path / "model.tflite"
    calibration = case.images if precision.startswith("int") else None
    write_tflite(case.traced, path, precision, calibration)
    outputs, operations = run_tflite(path, case.images)
    assert not {"SHAPE", "STRIDED_SLICE", "PACK", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"} & set(operations)
    assert relative_error(outputs, case.expected) < tolerance
    assert batches(path, case.images, outputs) == {"batches": [1, 3, 5]}


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (lambda images: tf.reshape(images, (1, -1)), "It answers otherwise in a batch of 3 than one by one."),
        (lambda images: tf.reverse(images, [0]), "It answers otherwise in a batch of 3"),
        (lambda images: tf.reshape(images, (1, 4 * 4 * 3)), "LiteRT does not take a batch of 3"),
    ],
)
def test_a_file_that_is_for_one_image_alone_is_found(network: Any, says: str, tmp_path: Path) -> None:
    function = tf.function(network, [tf.TensorSpec((1, 4, 4, 3))], autograph=False).get_concrete_function()
    content = function_converter(function, TFLite().precision("float32")).convert()
    (tmp_path / "one.tflite").write_bytes(content)
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 3)).astype(np.float32)
    answers = np.concatenate([network(images[index : index + 1]) for index in range(4)])
    found = batches(tmp_path / "one.tflite", images, answers)
    assert found["batches"] == [1]
    assert found["reason"].startswith(says)


def test_tflite_precisions_differ_in_size(tmp_path: Path) -> None:
    """A quantisation that silently did nothing would pass every other test."""
    case = Case(flattened)
    sizes = {}
    for precision in ("float32", "float16", "dynamic", "int8"):
        path = tmp_path / precision
        write_tflite(case.traced, path, precision, case.images)
        sizes[precision] = path.stat().st_size
    weights = 4 * case.model.count_params()
    assert sizes["float32"] > weights > sizes["float16"] > weights / 2 > sizes["dynamic"]
    assert sizes["int8"] < weights / 2


def test_mixed_precision_is_exported_as_float32(tmp_path: Path) -> None:
    """TFLite has no float16 convolution, and float16 arithmetic differs from runtime to runtime."""
    case = Case(residual)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = residual()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(case.model.get_weights())
    traced = trace(mixed)
    write_onnx(traced, tmp_path / "model.onnx")
    write_tflite(traced, tmp_path / "model.tflite", "float32", None)
    write_saved_model(traced, tmp_path / "1")
    loaded = tf.saved_model.load(tmp_path / "1")
    for outputs in (
        run_onnx(tmp_path / "model.onnx", case.images),
        run_tflite(tmp_path / "model.tflite", case.images)[0],
        loaded.signatures["serving_default"](tf.constant(case.images))["probabilities"].numpy(),
    ):
        assert relative_error(outputs, case.expected) < 1e-5
    assert {layer.compute_dtype for layer in mixed.layers} == {"float16"}, "the model itself must stay as it was"


class Unsupported(layers.Layer):
    def call(self, inputs: Any) -> Any:
        return tf.raw_ops.Igamma(a=tf.abs(inputs) + 1.0, x=tf.abs(inputs))


def test_unsupported_operation_is_refused_by_name(tmp_path: Path) -> None:
    """tf2onnx writes an invalid file here and reports success."""
    inputs = keras.Input((4, 4, 3))
    traced = trace(keras.Model(inputs, Unsupported()(inputs)))
    with pytest.raises(ExportError, match="Igamma"):
        write_onnx(traced, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="Igamma"):
        write_tflite(traced, tmp_path / "model.tflite", "float32", None)
    assert not list(tmp_path.iterdir())


def test_impossible_requests_say_what_is_possible(tmp_path: Path) -> None:
    """Each message must name the choice that works."""
    case = Case(flattened)
    path = tmp_path / "model"
    with pytest.raises(RequestError, match="9 to 23"):
        write_onnx(case.traced, path, opset=24)
    with pytest.raises(RequestError, match="float32, float16"):
        write_tflite(case.traced, path, "int2", None)
    with pytest.raises(RequestError, match="calibration images"):
        write_tflite(case.traced, path, "int8", None)
    with pytest.raises(RequestError, match=r"\(16, 16, 3\)"):
        write_tflite(case.traced, path, "int8", np.zeros((2, 8, 8, 3), np.float32))
    for names in (("a b", "c"), ("same", "same"), ("network", "out")):
        with pytest.raises(RequestError):
            trace(case.model, input_name=names[0], output_name=names[1])
    open_size = keras.Input((None, None, 3))
    with pytest.raises(RequestError, match="open input size"):
        trace(keras.Model(open_size, layers.Conv2D(2, 1)(open_size)))
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(RequestError, match="2 outputs"):
        trace(keras.Model(inputs, [layers.ReLU()(inputs), layers.Softmax()(inputs)]))


def test_more_than_two_gigabytes_are_refused(tmp_path: Path) -> None:
    """Protocol buffers end there; the message says which format takes more."""
    variable = mock.Mock(**{"shape.num_elements.return_value": 3 * 2**28, "dtype.size": 4})
    traced = replace(Case(flattened).traced, function=mock.Mock(variables=[variable]))
    with pytest.raises(ExportError, match="SavedModel"):
        write_onnx(traced, tmp_path / "model.onnx")
