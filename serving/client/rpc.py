"""gRPC on the wire: grpcio, and the messages of serving.client.messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serving.client import messages
from serving.client.channel import Channel
from serving.client.wire import Arrays, Connection, Target, VersionStatus, as_objects
from serving.contract import BYTES_SIGNATURE

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


class RpcWire:
    """A channel to one server; with TLS for grpcs:// addresses."""

    def __init__(self, connection: Connection) -> None:
        self._channel = Channel(connection)

    def classify(self, target: Target, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the best classes of photos: `top_ids`, `top_scores`, and `top_labels` where the model has them."""
        return self.predict(replace(target, signature=BYTES_SIGNATURE), {"image_bytes": as_objects(files)}, ())

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs for whole arrays, which travel as their raw bytes."""
        request = messages.message_class("PredictRequest")()
        _fill(request.model_spec, target)
        for name, value in inputs.items():
            messages.to_proto(np.asarray(value), request.inputs[name])
        request.output_filter.extend(outputs)
        response = self._channel.call(_PREDICT, request, messages.message_class("PredictResponse"))
        return {name: messages.from_proto(tensor) for name, tensor in response.outputs.items()}

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model, as the server describes them."""
        request = messages.message_class("GetModelStatusRequest")()
        _fill(request.model_spec, target)
        response = self._channel.call(_STATUS, request, messages.message_class("GetModelStatusResponse"))
        return [
            VersionStatus(row.version, _STATES.get(row.state, "UNKNOWN"), row.status.error_message)
            for row in response.model_version_status
        ]

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _fill(spec: DynamicMessage, target: Target) -> None:
    spec.name, spec.signature_name = target.model, target.signature
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label
