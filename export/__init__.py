"""From a Keras model to SavedModel, TFLite and ONNX artifacts that are known to be right.

`export.export(model, output)` in Python, `python -m export` on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes

if TYPE_CHECKING:
    from export.api import export
    from export.errors import ExportError, RequestError

__all__ = ["ExportError", "RequestError", "export"]

__getattr__, __dir__ = lazy_attributes(__name__, {"errors": ("ExportError", "RequestError"), "api": ("export",)})
