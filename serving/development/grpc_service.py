"""gRPC: PredictionService and ModelService of tensorflow-serving-api, over the version table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.contract import DEFAULT_SIGNATURE
from serving.development import configuration, limits, messages, prediction
from serving.development.statuses import Code, StatusError, invalid
from serving.development.version_table import Table
from serving.errors import RequestError

logger = logging.getLogger(__name__)
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_OPTIONS = [
    ("grpc.max_receive_message_length", limits.MAX_BODY_BYTES),
    ("grpc.max_send_message_length", -1),
    # Otherwise a second server on the same port takes half of the requests, and neither says so.
    ("grpc.so_reuseport", 0),
]


def start(table: Table, address: str, *, models: Path | None = None) -> tuple[grpc.Server, int]:
    """Start to serve `table` at `host:port`; the server, and the port that it listens on.

    Raises:
        RequestError: the address is taken or not this machine's.
    """
    server = grpc.server(
        ThreadPoolExecutor(limits.THREADS, thread_name_prefix="grpc"),
        options=_OPTIONS,
        maximum_concurrent_rpcs=limits.MAX_REQUESTS,
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(table), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(table, models), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise RequestError(
            f"gRPC cannot listen on {address}: it is taken, or not an address of this machine."
        ) from error
    server.start()
    return server, port


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors as statuses; what was not expected goes to the log, and not to the client."""

    @wraps(method)
    def wrapped(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except StatusError as error:
            code, message = error.code, error.message
        except Exception:
            logger.exception("%s failed", method.__name__)
            code, message = Code.INTERNAL, "Internal error; the server's log says more."
        return context.abort(_CODES[code], message)

    return wrapped


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @_answered
    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> Any:
        import tensorflow as tf

        with self._lease(request.model_spec) as version:
            outputs = prediction.predict_proto(version.servable, request, timeout=_timeout(context))
            response = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            _describe(response.model_spec, request.model_spec, version.number)
            return response

    @_answered
    def Classify(self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext) -> Any:
        with self._lease(request.model_spec) as version:
            name = request.model_spec.signature_name
            result = prediction.classify(version.servable, name, request.input, timeout=_timeout(context))
            response = classification_pb2.ClassificationResponse(result=result)
            _describe(response.model_spec, request.model_spec, version.number)
            return response

    @_answered
    def Regress(self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext) -> Any:
        with self._lease(request.model_spec) as version:
            name = request.model_spec.signature_name
            result = prediction.regress(version.servable, name, request.input, timeout=_timeout(context))
            response = regression_pb2.RegressionResponse(result=result)
            _describe(response.model_spec, request.model_spec, version.number)
            return response

    @_answered
    def MultiInference(self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext) -> Any:
        raise StatusError(Code.UNIMPLEMENTED, "The development server has no MultiInference; send one request a task.")

    @_answered
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        if list(request.metadata_field) != [messages.SIGNATURE_DEF]:
            raise invalid(f"Metadata field must be {messages.SIGNATURE_DEF}.")
        return messages.metadata(self._table, *_which(request.model_spec))

    def _lease(self, spec: Any) -> Any:
        return self._table.lease(*_which(spec))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Status of the models, and a new list of them."""

    def __init__(self, table: Table, models: Path | None) -> None:
        self._table = table
        self._models = models

    @_answered
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        return messages.status(self._table, *_which(request.model_spec))

    @_answered
    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            configs = configuration.from_message(request.config, self._models, "The request's config")
        except RequestError as error:
            raise invalid(str(error)) from error
        self._table.configure(configs)
        self._table.poll()
        return model_management_pb2.ReloadConfigResponse()


def _which(spec: Any) -> tuple[str, int | None, str | None]:
    """Name, version and label that a `ModelSpec` asks for."""
    if not spec.name:
        raise invalid("Missing ModelSpec")
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def _describe(answered: Any, asked: Any, number: int) -> None:
    answered.name = asked.name
    answered.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    answered.version.value = number


def _timeout(context: grpc.ServicerContext) -> float:
    """Seconds that the client waits, at most as long as any request may take."""
    remaining = context.time_remaining()
    return min(limits.TIMEOUT, remaining) if remaining is not None else limits.TIMEOUT
