"""The protocol over gRPC: what the client and Triton's own client ask for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving import tensors
from serving.client.v2_rpc import SERVICE, messages
from serving.development import limits
from serving.development.statuses import StatusError, invalid
from serving.development.v2.repository import Repository, Wanted
from serving.errors import RequestError

_MOST_BYTES = 256 * 2**20


def start(repository: Repository, address: str) -> tuple[grpc.Server, int]:
    """Start a server, and return it with its port.

    Raises:
        RequestError: The port is taken.
    """
    calls = {"ModelInfer": _infer, "ModelConfig": _config, "RepositoryIndex": _index}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _answered(call, repository),
            request_deserializer=messages()[f"{name}Request"].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, call in calls.items()
    }
    options = [("grpc.max_receive_message_length", _MOST_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(limits.THREADS, thread_name_prefix="grpc"), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.strip("/"), handlers),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise RequestError(f"gRPC cannot listen on {address}: the port is taken.") from error
    server.start()
    return server, port


def _answered(
    call: Callable[[Repository, Any], Any], repository: Repository
) -> Callable[[Any, grpc.ServicerContext], Any]:
    codes = {code.value[0]: code for code in grpc.StatusCode}

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return call(repository, request)
        except StatusError as error:
            context.abort(codes[int(error.code)], error.message)

    return answer


def _infer(repository: Repository, request: Any) -> Any:
    model = repository.find(request.model_name, request.model_version)
    if len(request.raw_input_contents) != len(request.inputs):
        raise invalid("send each input in raw_input_contents")
    try:
        pairs = zip(request.inputs, request.raw_input_contents, strict=True)
        inputs = {one.name: tensors.from_bytes(raw, one.datatype, tuple(one.shape)) for one, raw in pairs}
    except ValueError as error:
        raise invalid(str(error)) from error
    wanted = [Wanted(one.name, one.parameters["classification"].int64_param) for one in request.outputs]
    reply = messages()["ModelInferResponse"](model_name=model.name, model_version=str(model.version), id=request.id)
    for name, value in model.infer(inputs, wanted).items():
        reply.outputs.add(name=name, datatype=tensors.datatype_of(value), shape=value.shape)
        reply.raw_output_contents.append(tensors.to_bytes(value))
    return reply


def _config(repository: Repository, request: Any) -> Any:
    model = repository.find(request.name, request.version)
    return messages()["ModelConfigResponse"](config=model.config.SerializeToString())


def _index(repository: Repository, request: Any) -> Any:
    reply = messages()["RepositoryIndexResponse"]()
    for model in repository.models():
        reply.models.add(name=model.name, version=str(model.version), state="READY")
    return reply
