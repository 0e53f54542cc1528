"""Load an artifact and call it: SavedModel, TFLite, ONNX and Keras behind one small record.

A network's softmax hides errors (an int8 softmax moves in steps of 1/256), so every runtime also gives the logits,
taken out of the very artifact by an in-memory copy that stops before its final softmax. The file stays as it is, and
`predict` always runs the unmodified file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError

if TYPE_CHECKING:
    import keras

SIGNATURE = "serving_default"
BATCH = 16
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as the artifact declares it; None stands for a dimension that is free (the batch)."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Prediction:
    """What an artifact answers: `output` is what a user gets, `logits` what its final softmax receives.

    Both are float32 [n, ...] of one shape, dequantised. Without a final softmax `logits` is `output` and `has_softmax`
    is False. `output_step` is the quantisation step of the output, 0 where it is computed in floating point.
    """

    output: np.ndarray
    logits: np.ndarray
    has_softmax: bool = True
    output_step: float = 0.0


@dataclass(frozen=True)
class Runtime:
    """A loaded artifact. `run` answers one batch; `open_tap` loads the copy that gives logits (None: no softmax).

    `module` is the loaded SavedModel, whose other signatures only that format has; None for the other formats.
    """

    input: TensorSpec
    output: TensorSpec
    run: Run
    open_tap: Callable[[], Run | None]
    threads: int | None = None
    output_step: float = 0.0
    module: Any = None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The artifact's own output for float32 `images` [n, H, W, C], as float32 [n, ...]."""
        return self._batched(self.run, images)

    def predict_with_logits(self, images: np.ndarray) -> Prediction:
        """The output and the logits of `images` [n, H, W, C]; the copy that gives the logits is loaded here."""
        output = self.predict(images)
        tap = self.open_tap()
        if tap is None:
            return Prediction(output, output, has_softmax=False, output_step=self.output_step)
        logits = self._batched(tap, images).reshape(output.shape)
        return Prediction(output, logits, output_step=self.output_step)

    def _batched(self, run: Run, images: np.ndarray) -> np.ndarray:
        expected, given = self.input.shape[1:], images.shape[1:]
        if len(expected) != len(given) or any(e not in (None, g) for e, g in zip(expected, given, strict=True)):
            raise ExportError(
                f"{self.input.name!r} takes images of shape {_dims(expected)}, but {_dims(given)} was given."
            )
        size = BATCH if self.input.shape[0] is None else self.input.shape[0]
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate([np.asarray(run(batch), np.float32) for batch in batches])


def open_artifact(path: Path, format: str, threads: int = 2) -> Runtime:
    """Load the `format` ("saved_model", "tflite" or "onnx") artifact at `path`."""
    if format == "saved_model":
        return open_saved_model(path)
    openers = {"tflite": open_tflite, "onnx": open_onnx}
    if format not in openers:
        raise ExportError(f"No runtime for format {format!r}; there is one for saved_model, tflite and onnx.")
    return openers[format](path, threads)


def expected_specs(
    format: str, precision: str, input_spec: TensorSpec, output_spec: TensorSpec
) -> tuple[TensorSpec, TensorSpec]:
    """How an artifact must declare the model's input and output: TFLite has batch 1, int8-io speaks int8."""
    if format != "tflite":
        return input_spec, output_spec
    dtype = "int8" if precision == "int8-io" else "float32"
    first, second = (TensorSpec(spec.name, (1, *spec.shape[1:]), dtype) for spec in (input_spec, output_spec))
    return first, second


def open_keras(model: keras.Model) -> Runtime:
    """The Keras model itself, in inference mode: the reference of every comparison."""

    def runner(network: keras.Model) -> Run:
        import keras

        return lambda images: keras.ops.convert_to_numpy(network(images, training=False))

    def open_tap() -> Run | None:
        from kerascnn.surgery.logits import without_softmax

        network = without_softmax(model)
        return None if network is None else runner(network)

    source, target = model.inputs[0], model.outputs[0]
    return Runtime(
        TensorSpec(source.name, tuple(source.shape), "float32"),
        TensorSpec(target.name, tuple(target.shape), "float32"),
        runner(model),
        open_tap,
    )


def open_saved_model(folder: Path) -> Runtime:
    """Load a SavedModel (the folder that holds saved_model.pb) by its serving_default signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    if SIGNATURE not in loaded.signatures:
        found = ", ".join(loaded.signatures) or "none"
        raise ExportError(f"The SavedModel has no signature {SIGNATURE!r} (found: {found}).")
    function = loaded.signatures[SIGNATURE]
    source = _only(function.structured_input_signature[1].items(), "input")
    target = _only(function.structured_outputs.items(), "output")

    def run(images: np.ndarray) -> np.ndarray:
        # `loaded` owns the variables that the signature reads, so it has to live as long as this function.
        assert loaded is not None
        return function(**{source[0]: tf.constant(images)})[target[0]].numpy()

    def open_tap() -> Run | None:
        # A reloaded signature only calls the function that `write_saved_model` keeps beside it, whose operations can
        # be walked. Its graph is run again up to the softmax, on the same variables.
        network = loaded.network
        operation = network.outputs[0].op
        while operation.type in ("Identity", "Reshape", "Squeeze", "Cast"):
            operation = operation.inputs[0].op
        if operation.type != "Softmax":
            return None
        graph_def, logits = network.graph.as_graph_def(), operation.inputs[0].name
        captured = {inner.name: outer for outer, inner in network.graph.captures}

        @tf.function(autograph=False)
        def tapped(images: tf.Tensor) -> tf.Tensor:
            here = tf.compat.v1.get_default_graph()
            fed = {name: here.capture(variable) for name, variable in captured.items()} | {f"{source[0]}:0": images}
            return tf.import_graph_def(graph_def, fed, [logits], name="")[0]

        return lambda images: tapped(tf.constant(images)).numpy()

    source_spec, target_spec = (
        TensorSpec(name, tuple(spec.shape), spec.dtype.name)  # a free dimension is None
        for name, spec in (source, target)
    )
    return Runtime(source_spec, target_spec, run, open_tap, module=loaded)


def open_onnx(path: Path, threads: int = 2) -> Runtime:
    """Load an ONNX file in ONNX Runtime on the CPU, with `threads` threads within an operation."""
    import onnxruntime

    def start(model: str | bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    session = start(str(path))
    source, target = _only(session.get_inputs(), "input"), _only(session.get_outputs(), "output")

    def open_tap() -> Run | None:
        import onnx

        model = onnx.load(str(path))
        producers = {name: node for node in model.graph.node for name in node.output}
        node = producers.get(target.name)
        order = None
        if node is not None and node.op_type == "Transpose":  # a map of scores: inside, its channels come first
            (order,) = (onnx.helper.get_attribute_value(item) for item in node.attribute)
            node = producers.get(node.input[0])
        while node is not None and node.op_type in ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"):
            node = producers.get(node.input[0])
        if node is None or node.op_type != "Softmax":
            return None
        name = node.input[0]
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        tapped = start(model.SerializeToString())

        def run_tapped(images: np.ndarray) -> np.ndarray:
            logits = tapped.run([name], {source.name: images})[0]
            return logits if order is None else logits.transpose(order)

        return run_tapped

    return Runtime(
        _onnx_spec(source),
        _onnx_spec(target),
        lambda images: session.run([target.name], {source.name: images})[0],
        open_tap,
        threads,
    )


def _onnx_spec(tensor: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in tensor.shape)
    dtype = tensor.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(tensor.name, shape, {"float": "float32"}.get(dtype, dtype))


def open_tflite(path: Path, threads: int = 2) -> Runtime:
    """Load a .tflite file in LiteRT as an application does (default delegates), with `threads` threads.

    Images run one after another, as the file has batch 1. int8 inputs and outputs are quantised and dequantised here.
    """
    source, target, run = _start_tflite({"model_path": str(path)}, threads)
    content = bytearray(Path(path).read_bytes())
    tap, step = _move_tflite_output(content)

    def open_tap() -> Run | None:
        return _start_tflite({"model_content": bytes(content)}, threads)[2] if tap else None

    return Runtime(source, target, run, open_tap, threads, step)


def _start_tflite(model: dict[str, Any], threads: int) -> tuple[TensorSpec, TensorSpec, Run]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(**model, num_threads=threads)
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    if SIGNATURE not in signatures:
        raise ExportError(f"The file has no signature {SIGNATURE!r} (found: {', '.join(signatures) or 'none'}).")
    source = _only(interpreter.get_input_details(), "input")
    target = _only(interpreter.get_output_details(), "output")
    names = [_only(signatures[SIGNATURE][key], key.removesuffix("s")) for key in ("inputs", "outputs")]

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], _quantise(images, source))
        interpreter.invoke()
        return _dequantise(interpreter.get_tensor(target["index"]), target)

    specs = [
        TensorSpec(name, tuple(int(size) for size in details["shape"]), np.dtype(details["dtype"]).name)
        for name, details in zip(names, (source, target), strict=True)
    ]
    return specs[0], specs[1], run


def _move_tflite_output(content: bytearray) -> tuple[bool, float]:
    """Make the input of the final softmax the output of the flatbuffer `content`, in place.

    Returns:
        Whether there is a final softmax (without one, `content` is unchanged), and the quantisation step of the
        output: the scale of the tensor that the last computation writes, 0.0 when that is float32.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    graph = schema.Model.GetRootAs(content, 0)
    main = graph.Subgraphs(0)
    codes = [graph.OperatorCodes(index) for index in range(graph.OperatorCodesLength())]
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    producers = {}
    for index in range(main.OperatorsLength()):
        operator = main.Operators(index)
        producers.update({operator.Outputs(k): operator for k in range(operator.OutputsLength())})
    operators = schema.BuiltinOperator
    passing = (operators.DEQUANTIZE, operators.QUANTIZE, operators.RESHAPE, operators.SQUEEZE, operators.CAST)

    tensor, step, operator, kind = main.Outputs(0), 0.0, None, None
    for _ in range(main.OperatorsLength() + 1):  # no walk is longer, and a damaged file may lead in circles
        quantisation = main.Tensors(tensor).Quantization()
        if quantisation is not None and quantisation.ScaleLength():
            step = max(step, float(quantisation.Scale(0)))
        operator = producers.get(tensor)
        kind = None if operator is None else kinds[operator.OpcodeIndex()]
        if operator is None or kind not in passing:
            break
        tensor = operator.Inputs(0)
    if operator is None or kind != operators.SOFTMAX:
        return False, step
    main.OutputsAsNumpy()[0] = operator.Inputs(0)  # a view of `content`
    return True, step


def _quantise(images: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return images.astype(dtype, copy=False)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max).astype(dtype)


def _dequantise(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    scale, zero_point = details["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _only(items: Iterable[Any], what: str) -> Any:
    found = list(items)
    if len(found) != 1:
        raise ExportError(f"The artifact has {len(found)} {what}s; exactly one is expected.")
    return found[0]


def _dims(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
