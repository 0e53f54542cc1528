"""Code that runs each artifact, in the languages that have a runtime for it, with its own names, shapes and steps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.proving.micro import Micro
from export.report.names import title
from kerascnn.analysis.pages.blocks import Snippet, Snippets

LANGUAGES = {
    "saved_model": ("Python", "JavaScript"),
    "tflite": ("Python", "Kotlin", "Swift", "C++", "JavaScript"),
    "onnx": ("Python", "Kotlin", "Swift", "C++", "JavaScript"),
}
_MICRO = "C++, TFLite Micro"
_OPEN = 64  # where a side may have any size


@dataclass(frozen=True)
class _Type:
    """What a type is called in C++, Swift, ONNX Runtime's Swift, Kotlin, JavaScript and TFLite's C++; and its bytes."""

    cpp: str
    swift: str
    element: str
    kotlin: str
    array: str
    member: str
    bytes: int


_TYPES = {
    "float32": _Type("float", "Float", "float", "FloatBuffer", "Float32Array", "f", 4),
    "int8": _Type("int8_t", "Int8", "int8", "ByteBuffer", "Int8Array", "int8", 1),
    "uint8": _Type("uint8_t", "UInt8", "uInt8", "ByteBuffer", "Uint8Array", "uint8", 1),
    "int32": _Type("int32_t", "Int32", "int32", "IntBuffer", "Int32Array", "i32", 4),
    "int64": _Type("int64_t", "Int64", "int64", "LongBuffer", "BigInt64Array", "i64", 8),
}


def snippets(manifest: Mapping[str, Any]) -> Snippets:
    """Write the code for every artifact of a manifest."""
    return Snippets([_snippet(manifest, artifact) for artifact in manifest["artifacts"]])


def _snippet(manifest: Mapping[str, Any], artifact: Mapping[str, Any]) -> Snippet:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("export.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["python"] = lambda shape: f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    known = all(tensor["dtype"] in _TYPES for tensor in (*_inputs(artifact), *_outputs(artifact)))
    prepared = "a photo, prepared as above" if manifest["preprocessing"] else "your input"
    steps = artifact.get("steps") or {}
    context = {
        "path": artifact["path"],
        "precision": artifact["precision"],
        "model": manifest["model"]["name"],
        "labels": manifest["labels"],
        "inputs": [_tensor(one, steps, prepared) for one in _inputs(artifact)],
        "outputs": [_tensor(one, steps, "") for one in _outputs(artifact)],
    }
    codes = [
        (language, environment.get_template(f"{artifact['format']}.{language.lower()}.jinja").render(context).strip())
        for language in LANGUAGES[artifact["format"]]
        if known or language == "Python"
    ]
    micro = next((proof for proof in artifact["proofs"] if proof["runtime"] == Micro.name and proof["details"]), None)
    if micro is not None:
        micro_context = {**context, **micro["details"], "array": re.sub(r"\W", "_", artifact["path"])}
        codes.append((_MICRO, environment.get_template("tflite.micro.jinja").render(micro_context).strip()))
    return Snippet(title(artifact), artifact["path"], codes)


def _inputs(artifact: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return artifact.get("inputs") or [artifact["input"]]


def _outputs(artifact: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return artifact.get("outputs") or [artifact["output"]]


def _tensor(spec: Mapping[str, Any], steps: Mapping[str, Sequence[float]], comment: str) -> dict[str, Any]:
    """Say what the templates need of an input or output; a batch has one element."""
    name, first = spec["name"], spec["shape"][:1]
    shape = [1 if size is None else size for size in first]
    shape += [_OPEN if size is None else size for size in spec["shape"][1:]]
    variable = re.sub(r"\W|^(?=\d)", "_", name)
    kind = _TYPES.get(spec["dtype"], _TYPES["float32"])
    scale, zero_point = steps.get(name, (None, None))
    return {
        "name": name,
        "variable": variable,
        "argument": f"{name}={variable}" if variable == name else f'**{{"{name}": {variable}}}',
        "pair": name if variable == name else f'"{name}": {variable}',
        "shape": shape,
        "size": math.prod(shape),
        "bytes": math.prod(shape) * kind.bytes,
        "dtype": spec["dtype"],
        "scale": scale,
        "zero_point": zero_point,
        "comment": f"  // {shape}, {comment}",
        "python_comment": f"  # {comment}",
        "nested": _nested(shape[1:]),
        **vars(kind) | {"bytes": math.prod(shape) * kind.bytes},
    }


def _nested(shape: Sequence[int]) -> str:
    """Return nested JavaScript arrays of zeros."""
    text = "0"
    for size in reversed(shape):
        text = f"Array.from({{ length: {size} }}, () => {text})" if text != "0" else f"Array({size}).fill(0)"
    return text
