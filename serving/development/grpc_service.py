"""gRPC: PredictionService and ModelService of tensorflow-serving-api, over the version table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.contract import DEFAULT_SIGNATURE
from serving.development import configuration, descriptions, limits
from serving.development.runtime import prediction
from serving.development.statuses import Code, StatusError, invalid
from serving.development.version_table import Leased, Table
from serving.errors import RequestError

logger = logging.getLogger(__name__)
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_OPTIONS = [
    ("grpc.max_receive_message_length", limits.MAX_BODY_BYTES),
    ("grpc.max_send_message_length", -1),
    # Otherwise a second server on the same port takes half of the requests, without a word from either.
    ("grpc.so_reuseport", 0),
]


def start(table: Table, address: str, *, models: Path | None = None) -> tuple[grpc.Server, int]:
    """Start to serve `table` at `host:port`, and return the server and the port that it listens on.

    Raises:
        RequestError: The address is taken or is not one of this machine.
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
    """Turn errors into statuses. Unexpected ones go to the log, and not to the client."""

    @wraps(method)
    def wrapped(self: object, request: object, context: grpc.ServicerContext) -> Any:
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
    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> object:
        """Answer with the outputs of a signature."""
        import tensorflow as tf

        with self._lease(request.model_spec) as version:
            outputs = prediction.predict_proto(version.servable, request, timeout=_timeout(context))
            tensors = {name: tf.make_tensor_proto(value) for name, value in outputs.items()}
            spec = _answering(request.model_spec, version.number)
            return predict_pb2.PredictResponse(outputs=tensors, model_spec=spec)

    @_answered
    def Classify(self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext) -> object:
        """Answer with classes for examples."""
        return self._answer(request, context, prediction.classify, classification_pb2.ClassificationResponse)

    @_answered
    def Regress(self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext) -> object:
        """Answer with a number for each example."""
        return self._answer(request, context, prediction.regress, regression_pb2.RegressionResponse)

    @_answered
    def MultiInference(self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext) -> None:
        """Refuse: the development server does not have it."""
        raise StatusError(Code.UNIMPLEMENTED, "The development server has no MultiInference; send one request a task.")

    @_answered
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> object:
        """Answer with the signatures of a model."""
        if list(request.metadata_field) != [descriptions.SIGNATURE_DEF]:
            raise invalid(f"Metadata field must be {descriptions.SIGNATURE_DEF}.")
        return descriptions.metadata(self._table, *_which(request.model_spec))

    def _answer(
        self, request: Any, context: grpc.ServicerContext, infer: Callable[..., Any], response: Callable[..., Any]
    ) -> Any:
        """Answer a request with examples: `infer` makes the result that `response` holds."""
        spec = request.model_spec
        with self._lease(spec) as version:
            result = infer(version.servable, spec.signature_name, request.input, timeout=_timeout(context))
            return response(result=result, model_spec=_answering(spec, version.number))

    def _lease(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Leased]:
        return self._table.lease(*_which(spec))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """The status of the models, and a new list of them."""

    def __init__(self, table: Table, models: Path | None) -> None:
        self._table = table
        self._models = models

    @_answered
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> object:
        """Answer with the state of the versions of a model."""
        return descriptions.status(self._table, *_which(request.model_spec))

    @_answered
    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> object:
        """Replace the list of models, then load and unload what has changed."""
        try:
            configs = configuration.from_message(request.config, self._models, "The request's config")
        except RequestError as error:
            raise invalid(str(error)) from error
        self._table.configure(configs)
        self._table.poll()
        return model_management_pb2.ReloadConfigResponse()


def _which(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Return the name, version and label that a `ModelSpec` asks for."""
    if not spec.name:
        raise invalid("Missing ModelSpec")
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def _answering(asked: model_pb2.ModelSpec, number: int) -> model_pb2.ModelSpec:
    """Return the `ModelSpec` of an answer: the model, its version and the signature that answered."""
    answering = model_pb2.ModelSpec(name=asked.name, signature_name=asked.signature_name or DEFAULT_SIGNATURE)
    answering.version.value = number
    return answering


def _timeout(context: grpc.ServicerContext) -> float:
    """Return the seconds that the client waits, at most as long as any request may take."""
    remaining = context.time_remaining()
    return min(limits.TIMEOUT, remaining) if remaining is not None else limits.TIMEOUT
