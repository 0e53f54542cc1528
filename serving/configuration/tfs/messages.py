"""The protobuf messages of TensorFlow Serving's configuration files, in text format.

`ModelServerConfig` comes from tensorflow-serving-api, and what that package lacks from messages.proto.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import RequestError
from serving.protobuf import message_classes

if TYPE_CHECKING:
    from google.protobuf.message import Message

_classes = cache(lambda: message_classes(Path(__file__).with_suffix(".proto")))


def new(kind: str) -> Any:
    """Return an empty message.

    Args:
        kind: `ModelServerConfig`, `BatchingParameters`, `MonitoringConfig`, `SSLConfig`, or `ConfigProto` (of a
            session), which imports TensorFlow.
    """
    if kind == "ModelServerConfig":
        from tensorflow_serving.config import model_server_config_pb2

        return model_server_config_pb2.ModelServerConfig()
    if kind == "ConfigProto":
        from tensorflow.core.protobuf import config_pb2

        return config_pb2.ConfigProto()
    return _classes()[kind]()


def read(path: Path, kind: str, what: str) -> Any:
    """Read a message from a text-format file; `what` says in errors what the file is.

    Raises:
        RequestError: The file cannot be read, or does not hold such a message.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The {what} {path} cannot be read: {error}.") from error
    return parse(text, kind, str(path))


def parse(text: str, kind: str, where: str) -> Any:
    """Parse the text format of a message; `where` says in errors where the text is.

    Raises:
        RequestError: The text is not such a message. The error says the line and the column.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, new(kind))
    except text_format.ParseError as error:
        # "12:3 : Message type … has no field named …": line and column, which the server itself never says.
        raise RequestError(f"{where} is not a {kind}: {error}") from error


def to_text(message: Message, comment: str = "") -> str:
    """Return the text format of a message, below a comment of any number of lines."""
    from google.protobuf import text_format

    lines = [f"# {line}".rstrip() for line in comment.strip().splitlines()]
    return "\n".join([*lines, text_format.MessageToString(message)])
