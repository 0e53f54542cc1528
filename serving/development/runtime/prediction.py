"""Predict with a loaded version, for protobuf's messages or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from serving.contract import DEFAULT_SIGNATURE
from serving.development.runtime.servable import Servable, Signature
from serving.development.runtime.tensors import to_array
from serving.development.statuses import Code, StatusError, invalid

if TYPE_CHECKING:
    import numpy as np
    from tensorflow_serving.apis.predict_pb2 import PredictRequest


def predict(
    servable: Servable,
    signature: Signature,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] = (),
    *,
    timeout: float | None = None,
) -> dict[str, np.ndarray]:
    """Return the outputs (all, or those named) of a signature for arrays, within `timeout` seconds."""
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
        raise invalid(f"duplicate output tensor alias: {next(name for name in outputs if outputs.count(name) > 1)}")
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


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
