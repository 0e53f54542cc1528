"""The protobuf messages of TensorFlow Serving's configuration files, in text format.

`ModelServerConfig` comes from tensorflow-serving-api. That package leaves out the batching, monitoring and SSL
messages, so their descriptors are built here with the field names, numbers and types of
`session_bundle_config.proto`, `monitoring_config.proto` and `ssl_config.proto` of tensorflow/serving 2.20.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from serving.errors import RequestError

if TYPE_CHECKING:
    from google.protobuf.message import Message

M = TypeVar("M", bound="Message")

_WRAPPERS = "google.protobuf."
# message: {field: (number, type)}; "[]" after the type where the field repeats.
_FIELDS = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "int64[]"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}


def model_server_config() -> type[Any]:
    """The class of `--model_config_file`."""
    from tensorflow_serving.config import model_server_config_pb2

    return model_server_config_pb2.ModelServerConfig


def batching_parameters() -> type[Any]:
    """The class of `--batching_parameters_file` and of a model's own `batching_params.pbtxt`."""
    return _classes()["BatchingParameters"]


def monitoring_config() -> type[Any]:
    """The class of `--monitoring_config_file`."""
    return _classes()["MonitoringConfig"]


def ssl_config() -> type[Any]:
    """The class of `--ssl_config_file`."""
    return _classes()["SSLConfig"]


def session_config() -> type[Any]:
    """The class of `--tensorflow_session_config_file`; importing it imports TensorFlow."""
    from tensorflow.core.protobuf import config_pb2

    return config_pb2.ConfigProto


def batching_fields() -> frozenset[str]:
    """The names of all batching parameters."""
    return frozenset(_FIELDS["BatchingParameters"])


def parse(text: str, message: type[M], where: str) -> M:
    """The message that a text-format file holds.

    Raises:
        RequestError: the text is not such a message; says `where`, and the line and column.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, message())
    except text_format.ParseError as error:
        # "12:3 : Message type … has no field named …": line and column, which the server itself never says.
        raise RequestError(f"{where} is not a {message.DESCRIPTOR.name}: {error}") from error


def to_text(message: Message, comment: str = "") -> str:
    """The text format of a message, under a comment of any number of lines."""
    from google.protobuf import text_format

    lines = [f"# {line}".rstrip() for line in comment.strip().splitlines()]
    return "\n".join([*lines, text_format.MessageToString(message)])


@cache
def _classes() -> dict[str, type[Any]]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    field_type = descriptor_pb2.FieldDescriptorProto
    plain = {"bool": field_type.TYPE_BOOL, "string": field_type.TYPE_STRING, "int64": field_type.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/configuration.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=field_type.LABEL_OPTIONAL)
            if kind.endswith("[]"):
                field.label, kind = field_type.LABEL_REPEATED, kind.removesuffix("[]")
            if kind in plain:
                field.type = plain[kind]
            else:
                package = "tensorflow.serving." if kind in _FIELDS else _WRAPPERS
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{package}{kind}"
    # A pool of its own: another package may bring the same messages under the names of tensorflow/serving's own files.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in _FIELDS
    }
