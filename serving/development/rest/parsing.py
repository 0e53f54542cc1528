"""JSON as the real server's parser (RapidJSON) reads it, where Python's reads otherwise.

It takes the first of two keys of one name, `Inf` and `-NaN`, and bytes that are not UTF-8; it refuses numbers beyond
float64 and halves of surrogate pairs, wherever they are. What makes the real server overflow its stack is refused here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from serving.development.statuses import invalid

_SHOWN = 256  # characters: a request of megabytes must not come back in its own error
_STRING = r'"(?:[^"\\]|\\.)*"'
_WORDS = re.compile(rf"{_STRING}|-?Inf(?:inity)?|-NaN", re.DOTALL)
# What may be beyond float64: 300 digits, or an exponent of three.
_HUGE = re.compile(r"[0-9]{300}|[eE]\+?[0-9]{3}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JSONObject(dict[str, Any]):
    """A JSON object: the first value of each key, and all `pairs` as they came."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        for key, value in pairs:
            self.setdefault(key, value)
        self.pairs = pairs


def parse(body: bytes) -> JSONObject:
    """Parse the JSON object at the start of a body; what follows it is ignored."""
    if not body.strip():
        raise invalid("JSON Parse error: The document is empty")
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape").lstrip()
    try:
        document = _decode(text)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except ValueError as error:  # a number with thousands of digits
        raise invalid("JSON Parse error: Number too big to be stored in double.") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply") from error
    if _SURROGATE.search(text):
        _check_surrogates(text)
    if not isinstance(document, JSONObject):
        raise invalid(f"JSON Value: {show(document)} Is not object")
    return document


def _decode(text: str) -> object:
    huge = _HUGE.search(text) is not None  # a function of Python's for each number takes its time
    read_float, read_int = (_finite, _integer) if huge else (None, None)
    decoder = json.JSONDecoder(object_pairs_hook=JSONObject, parse_float=read_float, parse_int=read_int)
    try:
        return decoder.raw_decode(text)[0]
    except json.JSONDecodeError:
        spelled = _WORDS.sub(_python_word, text)
        if spelled == text:
            raise
        return decoder.raw_decode(spelled)[0]


def _python_word(match: re.Match[str]) -> str:
    words = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
    return words.get(match[0], match[0])


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _integer(text: str) -> int:
    _finite(text)
    return int(text)


def _check_surrogates(text: str) -> None:
    """Refuse halves of surrogate pairs; `text` has escapes that may be some."""
    for match in re.finditer(_STRING, text, re.DOTALL):
        if _SURROGATE.search(match[0]) and any("\ud800" <= letter <= "\udfff" for letter in json.loads(match[0])):
            raise invalid(f"JSON Parse error: The surrogate pair in string is invalid. at offset: {match.start()}")


def to_bytes(text: str) -> bytes:
    """Return a string of the document as it was in the body."""
    return text.encode("utf-8", errors="surrogateescape")


def is_base64(value: object) -> bool:
    """Return whether a value is `{"b64": "…"}` and nothing else."""
    return isinstance(value, JSONObject) and len(value.pairs) == 1 and isinstance(value.get("b64"), str)


def from_base64(value: Mapping[str, Any]) -> bytes:
    """Return the bytes of `{"b64": "…"}`. Spaces may be anywhere; padding is right or absent, and of "=" or "."."""
    text = "".join(value["b64"].split())
    bare = text.rstrip("=.")
    missing = -len(bare) % 4
    if len(text) - len(bare) not in (0, missing):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(bare + "=" * missing, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def json_type(value: object) -> str:
    """Return the name of a value's type in errors."""
    names = {type(None): "Null", bool: str(value), str: "String", list: "Array", JSONObject: "Object"}
    return names.get(type(value), "Number")


def show(value: object) -> str:
    """Return the beginning of a value's JSON, for errors."""
    shown = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        shown += piece[:_SHOWN]
        if len(shown) >= _SHOWN:
            break
    return shown[:_SHOWN]
