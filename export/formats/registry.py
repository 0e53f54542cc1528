"""The formats that there are, in the order in which an export writes them: one line each."""

from __future__ import annotations

from export.formats.format import Format
from export.formats.onnx import Onnx
from export.formats.saved_model import SavedModel
from export.formats.tflite import TFLite

FORMATS: dict[str, Format] = {format.name: format for format in (SavedModel(), TFLite(), Onnx())}
