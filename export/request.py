"""What was asked for, checked before any work starts. Imports nothing heavy."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.errors import RequestError

FORMATS = ("saved_model", "tflite", "onnx")
SPARSE = ("sparse-float16", "sparse-dynamic", "sparse-int8")
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8", "int4", *SPARSE)
CALIBRATED = ("int8", "int8-io", "int16x8", "int4", "sparse-int8")
KNOWN = {"saved_model": ("float32",), "tflite": PRECISIONS, "onnx": ("float32", "int8")}
_TITLES = {"saved_model": "SavedModel", "tflite": "TFLite", "onnx": "ONNX"}

# format: the packages that write and run it
_PACKAGES = {
    "saved_model": ("tensorflow", "tensorflow_serving"),
    "tflite": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class Item:
    """One artifact to make; `precision` is one that KNOWN has for the format.

    optional: nobody asked for it by name, so that it is no failure to leave it out where it is of no use.
    """

    format: str
    precision: str
    optional: bool = False

    @property
    def title(self) -> str:
        return f"{self.format} {self.precision}"

    def path(self, stem: str) -> str:
        """Where it goes within the export folder; `stem` is the model's name, with `_untrained` where that is so."""
        if self.format == "saved_model":
            # The version folder that TensorFlow Serving looks for.
            return "saved_model_untrained/1" if stem.endswith("_untrained") else "saved_model/1"
        suffix = "" if self.precision == "float32" else f"_{self.precision}"
        return f"{stem}{suffix}.{self.format}"


@dataclass(frozen=True)
class Compression:
    """How a model is made smaller before it is exported; see `export.compression.compress`."""

    sparsity: float | None = None
    bits: int = 8
    target_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """The artifacts of one export, in the order in which they are made."""

    items: tuple[Item, ...]
    opset: int
    compression: Compression | None = None

    @property
    def needs_calibration(self) -> bool:
        return any(item.precision in CALIBRATED for item in self.items)


def make_plan(
    formats: Sequence[str],
    precisions: Sequence[str] = (),
    *,
    opset: int = 17,
    compression: Compression | None = None,
) -> Plan:
    """Turn formats and precisions into the list of artifacts.

    Args:
        formats: of FORMATS.
        precisions: of PRECISIONS, for each format that has them, beside float32, which is always made: the gates of
            the coarser ones cannot see damage smaller than their own noise, those of float32 can.
        opset: ONNX operator set.
        compression: make the model smaller first, and write a .kdc file too; formats may then be empty. TFLite gets
            the sparse precisions as well, as optional ones.

    Raises:
        RequestError: nothing was asked for, a name is unknown, a precision has no format, or a package is missing.
    """
    if compression is not None:
        _check_compression(compression)
    elif not formats:
        raise RequestError(
            "No format was asked for. Choose --saved-model, --tflite, --onnx, or --all of them "
            f"(from Python: formats=, of {', '.join(FORMATS)})."
        )
    _check_known("format", formats, FORMATS)
    _check_known("precision", precisions, PRECISIONS)
    for precision in precisions:
        writers = [format for format in FORMATS if precision in KNOWN[format]]
        if precision != "float32" and not set(writers) & set(formats):
            options = " or ".join(f"--{format.replace('_', '-')}" for format in writers)
            raise RequestError(
                f"{precision} is a precision of {' and '.join(_TITLES[format] for format in writers)} files, and none "
                f"was asked for. Add {options}."
            )
    items = []
    for format in FORMATS:
        if format in formats:
            ordered = [precision for precision in PRECISIONS if precision in ("float32", *precisions)]
            items += [Item(format, precision) for precision in ordered if precision in KNOWN[format]]
        if format == "tflite" and format in formats and compression is not None:
            items += [Item(format, precision, optional=True) for precision in SPARSE if precision not in precisions]
    _check_packages(formats)
    if "int4" in precisions and importlib.util.find_spec("ai_edge_quantizer") is None:
        raise RequestError("int4 needs ai-edge-quantizer, an extra: pip install 'kerascnn[int4]'.")
    if "onnx" in formats:
        from export.formats.onnx import check_opset

        for item in items:
            if item.format == "onnx":
                check_opset(opset, item.precision)
    return Plan(tuple(items), opset, compression)


def _check_compression(asked: Compression) -> None:
    if asked.sparsity is not None and not 0 <= asked.sparsity < 1:
        raise RequestError(f"A sparsity is 0 to less than 1, the share of weights set to zero; it is {asked.sparsity}.")
    if not 1 <= asked.bits <= 8:
        raise RequestError(f"Layers share 2 to 256 values, 1 to 8 bits; {asked.bits} bits were asked for.")
    if asked.target_bytes is not None and asked.target_bytes <= 0:
        raise RequestError(f"The compressed file cannot have {asked.target_bytes} bytes.")


def _check_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RequestError(f"There is no {what} {name!r}. Choose from {', '.join(known)}.{hint}")


def _check_packages(formats: Sequence[str]) -> None:
    needed = {package: None for format in formats for package in _PACKAGES[format]}
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise RequestError(
            f"{', '.join(missing)} is not installed. Exporting needs the extra: pip install 'kerascnn[export]'."
        )


def check_source(path: Path, what: str) -> Path:
    """A folder or zip of photos that exists.

    Raises:
        RequestError: it does not, or is neither.
    """
    if not path.exists():
        raise RequestError(f"The {what} {path} does not exist. Give a folder or a .zip of photos.")
    if path.is_file() and path.suffix.lower() != ".zip":
        raise RequestError(f"The {what} {path} is a file. Give a folder or a .zip of photos.")
    return path


def read_labels(path: Path) -> list[str]:
    """Class names, one a line, in the order of the model's outputs.

    Raises:
        RequestError: there is no such file, or it is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"The labels file {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"The labels file {path} is not UTF-8 text; it has one class name a line.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
