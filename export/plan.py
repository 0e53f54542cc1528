"""What was asked for, checked before any work starts. Imports nothing heavy."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.errors import RequestError

FORMATS = ("saved_model", "tflite", "onnx")
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io")
CALIBRATED = ("int8", "int8-io")

# format: the packages that write and run it
_PACKAGES = {
    "saved_model": ("tensorflow",),
    "tflite": ("tensorflow", "ai_edge_litert"),
    "onnx": ("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class Item:
    """One artifact to make. `precision` is float32 but for TFLite."""

    format: str
    precision: str

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
class Plan:
    """The artifacts of one export, in the order in which they are made."""

    items: tuple[Item, ...]
    opset: int

    @property
    def needs_calibration(self) -> bool:
        return any(item.precision in CALIBRATED for item in self.items)


def make_plan(formats: Sequence[str], precisions: Sequence[str] = (), *, opset: int = 17) -> Plan:
    """Turn formats and precisions into the list of artifacts.

    Args:
        formats: of FORMATS.
        precisions: of PRECISIONS, for TFLite, beside float32, which is always made: the gates of the coarser ones
            cannot see damage smaller than their own noise, those of float32 can.
        opset: ONNX operator set.

    Raises:
        RequestError: nothing was asked for, a name is unknown, a precision has no format, or a package is missing.
    """
    if not formats:
        raise RequestError(
            "No format was asked for. Choose --saved-model, --tflite, --onnx, or --all of them "
            f"(from Python: formats=, of {', '.join(FORMATS)})."
        )
    _check_known("format", formats, FORMATS)
    _check_known("precision", precisions, PRECISIONS)
    if "tflite" not in formats and any(precision != "float32" for precision in precisions):
        asked = ", ".join(precision for precision in precisions if precision != "float32")
        raise RequestError(f"{asked} is a precision of TFLite files, and no TFLite file was asked for. Add --tflite.")
    items = []
    for format in FORMATS:
        if format in formats:
            ordered = [precision for precision in PRECISIONS if precision in ("float32", *precisions)]
            items += [Item(format, precision) for precision in (ordered if format == "tflite" else ["float32"])]
    _check_packages(formats)
    if "onnx" in formats:
        from export.formats.onnx import OPSETS

        if opset not in OPSETS:
            raise RequestError(f"ONNX opset {opset} cannot be written; choose {OPSETS.start} to {OPSETS.stop - 1}.")
    return Plan(tuple(items), opset)


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
