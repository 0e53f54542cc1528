"""Arrays and results as REST's JSON, in the form of the request: rows (`predictions`) or columns (`outputs`)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.development.statuses import invalid

if TYPE_CHECKING:
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

_WRITABLE = "fbiuOS"
_NAMES = {"float16": "half"}
_BYTES_SUFFIX = "_bytes"  # an output of this name is binary, and written as {"b64": …}


def predictions(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Return the reply to a predict request: one output alone, several under their names."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if rows:
        _check_rows(outputs)
    texts = {name: _texts(name, outputs[name], entries=rows) for name in sorted(outputs)}
    if not rows:
        values = {name: entries[0] for name, entries in texts.items()}
        return _encode(_object({"outputs": values[min(values)] if len(values) == 1 else _object(values)}))
    if len(texts) == 1:
        entries = texts[min(texts)]
    else:
        entries = [_object(dict(zip(texts, row, strict=True))) for row in zip(*texts.values(), strict=True)]
    return _encode(_object({"predictions": _list(entries)}))


def classifications(result: ClassificationResult) -> bytes:
    """Return the reply to a classify request: for each example its classes, each a label and a score."""
    rows = [
        _list(_list([_text(one.label), _float32(one.score)]) for one in example.classes)
        for example in result.classifications
    ]
    return _encode(_object({"results": _list(rows)}))


def regressions(result: RegressionResult) -> bytes:
    """Return the reply to a regress request: a number for each example."""
    return _encode(_object({"results": _list(_float32(regression.value) for regression in result.regressions)}))


def error(message: str) -> bytes:
    """Return the body of a reply that is not a success."""
    return dump({"error": message})


def dump(value: object) -> bytes:
    """Write JSON with bare NaN and Infinity, as the real server does; strict parsers refuse those."""
    return _encode(_text(value))


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _encode(text: str) -> bytes:
    """Return the bytes of a reply; those of a string that is not UTF-8 go out as they came."""
    return text.encode("utf-8", errors="surrogateescape")


def _object(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_text(name)}: {value}" for name, value in values.items()) + "}"


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(values) + "]"


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    for name, value in outputs.items():
        if value.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
    expected = len(next(iter(outputs.values())))
    for name, value in outputs.items():
        if len(value) != expected:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {expected}")


def _texts(name: str, value: np.ndarray, *, entries: bool) -> list[str]:
    """Return the JSON of each entry of an array, or of the whole array."""
    is_writable = value.dtype.kind in _WRITABLE and not (value.dtype.itemsize == 2 and value.dtype.kind in "fu")
    if value.size and not is_writable:
        raise invalid(f"Failed to write JSON value for tensor type: {_NAMES.get(value.dtype.name, value.dtype.name)}")
    texts = list(map(_writer(name, value), value.ravel().tolist()))
    for axis in reversed(range(1 if entries else 0, value.ndim)):
        count, size = math.prod(value.shape[:axis]), value.shape[axis]
        texts = [_list(texts[i * size : (i + 1) * size]) for i in range(count)]
    return texts


def _writer(name: str, value: np.ndarray) -> Callable[[Any], str]:
    if value.dtype == np.float32:
        return _float32
    if value.dtype == np.float64:
        return _float64
    if value.dtype.kind in "OS":
        return _binary if name.endswith(_BYTES_SUFFIX) else _string
    return _text


def _float32(value: float) -> str:
    return _decimal(value, f"{value:.6g}", 9, np.float32)


def _float64(value: float) -> str:
    return _decimal(value, f"{value:.6g}", 17, float)


def _decimal(value: float, short: str, digits: int, kind: Callable[[Any], Any]) -> str:
    """Write a number as the server does: in six digits where they are enough, else in all that tell it apart."""
    if not math.isfinite(value):
        return _text(value)
    text = short if kind(short) == kind(value) else f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _string(value: object) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    return _text(data.decode("utf-8", errors="surrogateescape"))


def _binary(value: object) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    return _object({"b64": _text(base64.b64encode(data).decode())})
