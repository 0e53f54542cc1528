"""Classify and regress with a loaded version: from examples to classes and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serving.contract import DEFAULT_SIGNATURE
from serving.development.runtime.servable import Servable, Signature
from serving.development.statuses import Code, StatusError, invalid

if TYPE_CHECKING:
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult
    from tensorflow_serving.apis.inference_pb2 import InferenceResult, MultiInferenceRequest
    from tensorflow_serving.apis.input_pb2 import Input
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def classify(servable: Servable, name: str, examples: Input, *, timeout: float | None = None) -> ClassificationResult:
    """Return classes for the examples of a request, by the outputs `classes` and `scores` of the signature `name`.

    The method that the signature names is not looked at, as in the real server.
    """
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult

    signature = _find_signature(servable, name, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    wanted = [output for output in ("classes", "scores") if output in signature.outputs]
    if not wanted:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature '
            f"was: {signature.definition}"
        )
    outputs, count = _run_examples(servable, signature, wanted, examples, timeout)
    classes, scores = outputs.get("classes"), outputs.get("scores")
    _check_column("classes", classes, "O", "DT_STRING", count)
    _check_column("scores", scores, "float32", "DT_FLOAT", count)
    widths = {values.shape[1] for values in outputs.values()}
    if len(widths) > 1:
        raise invalid("Tensors class and score should match in dim_size(1).")
    result = ClassificationResult()
    for row in range(count):
        answer = result.classifications.add()
        for column in range(*widths):
            label = "" if classes is None else classes[row, column].decode(errors="replace")
            answer.classes.add(label=label, score=0.0 if scores is None else float(scores[row, column]))
    return result


def _check_column(name: str, values: np.ndarray | None, dtype: str, shown: str, count: int) -> None:
    if values is None:
        return
    if values.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(values.shape)}")
    if values.dtype != np.dtype(dtype):
        raise invalid(f"Expected {name} Tensor of {shown}. Got: {values.dtype.name}")
    if len(values) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(values)}")


def regress(servable: Servable, name: str, examples: Input, *, timeout: float | None = None) -> RegressionResult:
    """Return a number for each example of a request, by the only output, `outputs`, of the signature `name`."""
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

    signature = _find_signature(servable, name, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature.definition}")
    outputs, count = _run_examples(servable, signature, ["outputs"], examples, timeout)
    values = outputs["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(values.shape)}"
        )
    if len(values) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype.name}")
    result = RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def infer(servable: Servable, request: MultiInferenceRequest, *, timeout: float | None = None) -> list[InferenceResult]:
    """Return the result of each task of a request: classes or numbers for the same examples."""
    from tensorflow_serving.apis.inference_pb2 import InferenceResult

    results, seen = [], set()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if servable.signature(name) is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (_CLASSIFY, _REGRESS):
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    for task in request.tasks:
        result, name = InferenceResult(), task.model_spec.signature_name
        if task.method_name == _CLASSIFY:
            result.classification_result.CopyFrom(classify(servable, name, request.input, timeout=timeout))
        else:
            result.regression_result.CopyFrom(regress(servable, name, request.input, timeout=timeout))
        results.append(result)
    return results


def _find_signature(servable: Servable, name: str, kind: str) -> Signature:
    signature = servable.signature(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature.definition}")
    return signature


def _run_examples(
    servable: Servable, signature: Signature, outputs: list[str], examples: Input, timeout: float | None
) -> tuple[dict[str, np.ndarray], int]:
    rows = _serialize(examples)
    if not rows:
        raise invalid("Input is empty.")
    inputs = {"inputs": np.array(rows, dtype=object)}
    return servable.run(signature, inputs, outputs, timeout=timeout), len(rows)


def _serialize(examples: Input) -> list[bytes]:
    """Return each example of a request as bytes, behind what they have in common (the context)."""
    if examples.WhichOneof("kind") == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
        # Two messages one after the other are their union.
        return [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
    return [example.SerializeToString() for example in examples.example_list.examples]
