"""The Open Inference Protocol (V2) over gRPC; tensors travel as their raw bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from serving import tensors
from serving.client.channel import Channel
from serving.client.errors import ServerError
from serving.client.prepared import PREPROCESSING, Network
from serving.client.v2 import check, versions_of
from serving.client.wire import Arrays, Connection, Target, VersionStatus
from serving.protobuf import message_classes

SERVICE = "/inference.GRPCInferenceService/"
messages = cache(lambda: message_classes(Path(__file__).with_name("open_inference.proto")))


class V2RpcWire:
    """A channel to one server."""

    def __init__(self, connection: Connection) -> None:
        self._channel = Channel(connection)
        self._network = cache(self._read_network)

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs for whole arrays."""
        return self._infer(target, inputs, dict.fromkeys(outputs, 0))

    def classify(self, target: Target, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Prepare photos, and return their best classes."""
        network = self._network(check(target))

        def ask(images: np.ndarray) -> np.ndarray:
            return self._infer(target, {network.input: images}, {network.output: network.top})[network.output]

        return network.classify(target.model, files, ask)

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model."""
        reply = self._call("RepositoryIndex", messages()["RepositoryIndexRequest"]())
        rows = [{name: getattr(row, name) for name in ("name", "version", "state", "reason")} for row in reply.models]
        return versions_of(check(target), rows)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _infer(self, target: Target, inputs: Arrays, wanted: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Ask for the outputs in `wanted`, or all, and for so many best classes of each where that is not 0."""
        request = messages()["ModelInferRequest"]()
        request.model_name = check(target).model
        request.model_version = "" if target.version is None else str(target.version)
        for name, value in inputs.items():
            request.inputs.add(name=name, datatype=tensors.datatype_of(value), shape=value.shape)
            request.raw_input_contents.append(tensors.to_bytes(value))
        for name, top in wanted.items():
            output = request.outputs.add(name=name)
            if top:
                output.parameters["classification"].int64_param = top
        reply = self._call("ModelInfer", request)
        try:
            pairs = zip(reply.outputs, reply.raw_output_contents, strict=True)
            return {one.name: tensors.from_bytes(raw, one.datatype, tuple(one.shape)) for one, raw in pairs}
        except ValueError as error:
            raise ServerError(f"The answer is not one of the Open Inference Protocol: {error}") from error

    def _read_network(self, target: Target) -> Network:
        from serving.configuration.triton.messages import new

        request = messages()["ModelConfigRequest"](
            name=target.model, version="" if target.version is None else str(target.version)
        )
        config = new()
        config.ParseFromString(self._call("ModelConfig", request).config)
        return Network.of(
            target.model,
            [entry.name for entry in config.input],
            [(entry.name, entry.dims[-1]) for entry in config.output],
            config.parameters[PREPROCESSING].string_value if PREPROCESSING in config.parameters else "",
        )

    def _call(self, method: str, request: Any) -> Any:
        return self._channel.call(SERVICE + method, request, messages()[f"{method}Response"])
