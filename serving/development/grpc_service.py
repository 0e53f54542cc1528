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
from serving.development.runtime import inference, prediction, tensors
from serving.development.statuses import Code, StatusError, invalid
from serving.development.version_table import Leased, State, Table
from serving.errors import RequestError

logger = logging.getLogger(__name__)
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_LONGEST_MESSAGE = 1024  # characters; the real server cuts what is longer
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
        return context.abort(_CODES[code], message[:_LONGEST_MESSAGE])

    return wrapped


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @_answered
    def Predict(self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext) -> object:
        """Answer with the outputs of a signature."""
        with self._lease(request) as version:
            outputs = prediction.predict_proto(version.servable, request, timeout=_timeout(context))
            protos = {name: tensors.to_proto(value) for name, value in outputs.items()}
            spec = _answering(request.model_spec, version.number)
            return predict_pb2.PredictResponse(outputs=protos, model_spec=spec)

    @_answered
    def Classify(self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext) -> object:
        """Answer with classes for examples."""
        return self._answer(request, context, inference.classify, classification_pb2.ClassificationResponse)

    @_answered
    def Regress(self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext) -> object:
        """Answer with a number for each example."""
        return self._answer(request, context, inference.regress, regression_pb2.RegressionResponse)

    @_answered
    def MultiInference(self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext) -> object:
        """Answer several tasks, classify or regress, for the same examples."""
        if not request.tasks:
            raise invalid("Inference request must have at least one task.")
        with self._lease(request.tasks[0]) as version:
            results = inference.infer(version.servable, request, timeout=_timeout(context))
        for result, task in zip(results, request.tasks, strict=True):
            result.model_spec.CopyFrom(_answering(task.model_spec, version.number))
        return inference_pb2.MultiInferenceResponse(results=results)

    @_answered
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> object:
        """Answer with the signatures of a model."""
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != descriptions.SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        return descriptions.metadata(self._table, *_which(request))

    def _answer(
        self, request: Any, context: grpc.ServicerContext, infer: Callable[..., Any], response: Callable[..., Any]
    ) -> Any:
        """Answer a request with examples: `infer` makes the result that `response` holds."""
        spec = request.model_spec
        with self._lease(request) as version:
            result = infer(version.servable, spec.signature_name, request.input, timeout=_timeout(context))
            return response(result=result, model_spec=_answering(spec, version.number))

    def _lease(self, request: Any) -> AbstractContextManager[Leased]:
        name, number, label = _which(request)
        if not name:
            raise invalid("ModelSpec has no name specified.")
        return self._table.lease(name, number, label)


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
        return descriptions.status(self._table, *_which(request))

    @_answered
    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> object:
        """Replace the list of models, then load and unload what has changed.

        As in the real server, the new list stays also where a model of it cannot be loaded, which is an error.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        try:
            configs = configuration.from_message(request.config, self._models, "The request's config")
        except RequestError as error:
            raise invalid(str(error)) from error
        new = {config.name for config in configs} - set(self._table.names())
        self._table.configure(configs)
        self._table.poll()
        if missing := [why for name in sorted(new) if (why := self._why_missing(name)) is not None]:
            message = f"{len(missing)} model(s) did not become available: {{{', '.join(missing)}, }}"
            raise StatusError(Code.UNKNOWN, message)
        return model_management_pb2.ReloadConfigResponse()

    def _why_missing(self, name: str) -> str | None:
        """Say why a model has no version that can be asked; None if it has one."""
        versions = self._table.versions(name)
        if any(version.state is State.AVAILABLE for version in versions):
            return None
        failed = next((version for version in versions if version.message), None)
        if failed is None:
            return f"{{name: {name}}}"
        return f"{{name: {name} version: {failed.number}}} due to error: {failed.code.name}: {failed.message}"


def _which(request: Any) -> tuple[str, int | None, str | None]:
    """Return the name, version and label that the `ModelSpec` of a request asks for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
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
