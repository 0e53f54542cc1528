"""Triton's ModelConfig in text format, from model_config.proto beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from serving.errors import RequestError
from serving.protobuf import message_classes

_classes = cache(lambda: message_classes(Path(__file__).with_name("model_config.proto")))


def new() -> Any:
    """Return an empty ModelConfig."""
    return _classes()["ModelConfig"]()


def parse(text: str, where: str) -> Any:
    """Parse the text of a config.pbtxt; `where` says in errors where it is.

    Raises:
        RequestError: The text is not a ModelConfig. The error says the line and the column.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, new())
    except text_format.ParseError as error:
        raise RequestError(f"{where} is not a ModelConfig: {error}") from error
