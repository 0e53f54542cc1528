"""Predict, classify and regress with a loaded version, for protobuf's messages or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from serving.contract import DEFAULT_SIGNATURE
from serving.development.limits import MAX_TENSOR_BYTES
from serving.development.runtime.servable import Servable, Signature
from serving.development.statuses import Code, StatusError, invalid

if TYPE_CHECKING:
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult
    from tensorflow_serving.apis.input_pb2 import Input
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"
_PREDICT = "tensorflow/serving/predict"


def predict(
    servable: Servable,
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] = (),
    *,
    timeout: float | None = None,
) -> dict[str, np.ndarray]:
    """Return the outputs (all, or those named) of a signature for arrays, within `timeout` seconds."""
    method = signature.definition.method_name
    if method not in (_PREDICT, _CLASSIFY, _REGRESS):
        raise StatusError(Code.INTERNAL, f"Expected prediction signature method_name to be {_PREDICT}. Was: {method}")
    wanted = set(signature.definition.inputs)
    if set(inputs) != wanted:
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(wanted)} len({_names(inputs)}) != "
            f"len({_names(wanted)}). Sent extra: {_names(set(inputs) - wanted)}. "
            f"Missing but required: {_names(wanted - set(inputs))}."
        )
    for name in outputs:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_names(signature.outputs)}."
            )
    if len(set(outputs)) < len(outputs):
        raise invalid("duplicate output tensor alias")
    return servable.run(signature, inputs, outputs, timeout=timeout)


def predict_proto(
    servable: Servable, request: PredictRequest, *, timeout: float | None = None
) -> dict[str, np.ndarray]:
    """Return the outputs for a `PredictRequest`."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signature(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    inputs = {key: to_array(key, tensor) for key, tensor in request.inputs.items()}
    return predict(servable, signature, inputs, request.output_filter, timeout=timeout)


def classify(servable: Servable, name: str, examples: Input, *, timeout: float | None = None) -> ClassificationResult:
    """Return classes for the examples of a request, by the signature `name` with the method classify."""
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult

    signature = _find_signature(servable, name, _CLASSIFY, "classification")
    outputs, count = _run_examples(servable, signature, examples, timeout)
    classes, scores = outputs.get("classes"), outputs.get("scores")
    columns = scores if classes is None else classes
    if columns is None:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or "scores".',
        )
    for values in (classes, scores):
        if values is not None and (values.ndim != 2 or len(values) != count):
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(values.shape)}")
    result = ClassificationResult()
    for row in range(count):
        answer = result.classifications.add()
        for column in range(columns.shape[1]):
            label = "" if classes is None else classes[row, column].decode(errors="replace")
            answer.classes.add(label=label, score=0.0 if scores is None else float(scores[row, column]))
    return result


def regress(servable: Servable, name: str, examples: Input, *, timeout: float | None = None) -> RegressionResult:
    """Return a number for each example of a request, by the signature `name` with the method regress."""
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

    signature = _find_signature(servable, name, _REGRESS, "regression")
    outputs, count = _run_examples(servable, signature, examples, timeout)
    if "outputs" not in outputs:
        raise StatusError(Code.FAILED_PRECONDITION, 'Expected regression signature outputs to contain "outputs".')
    values = outputs["outputs"]
    if values.size != count or values.shape not in ((count,), (count, 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {values.shape}"
        )
    result = RegressionResult()
    for value in values.reshape(-1):
        result.regressions.add(value=float(value))
    return result


def to_array(name: str, tensor: TensorProto) -> np.ndarray:
    """Return the array that a `TensorProto` holds; refuse one that is small on the wire and huge in memory."""
    import tensorflow as tf

    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        if min(shape, default=0) < 0 or tensor.tensor_shape.unknown_rank:
            raise ValueError("its shape is not known")
        # One value may stand for all of them, so a few bytes can ask for any amount of memory.
        if prod(shape) * max(dtype.size or 8, 1) > MAX_TENSOR_BYTES:
            raise ValueError(f"it has the shape {shape}, more than {MAX_TENSOR_BYTES // 2**20} MiB")
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise invalid(f"Tensor {name} cannot be read: {str(error)[:200]}") from error


def _find_signature(servable: Servable, name: str, method: str, kind: str) -> Signature:
    signature = servable.signature(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    if signature.definition.method_name != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {signature.definition.method_name}")
    if list(signature.inputs) != ["inputs"]:
        raise StatusError(Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef")
    return signature


def _run_examples(
    servable: Servable, signature: Signature, examples: Input, timeout: float | None
) -> tuple[dict[str, np.ndarray], int]:
    rows = _serialize(examples)
    if not rows:
        raise invalid("Input is empty.")
    return servable.run(signature, {"inputs": np.array(rows, dtype=object)}, timeout=timeout), len(rows)


def _serialize(examples: Input) -> list[bytes]:
    """Return each example of a request as bytes, behind what they have in common (the context)."""
    if examples.WhichOneof("kind") == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
        # Two messages one after the other are their union.
        return [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
    return [example.SerializeToString() for example in examples.example_list.examples]


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
