"""From a Keras model to SavedModel, TFLite and ONNX artifacts that are known to be right.

`export.export(model, output)` in Python, `python -m export` on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.api import export
    from export.errors import ExportError, RequestError

__all__ = ["ExportError", "RequestError", "export"]


def __getattr__(name: str) -> Any:
    if name in ("ExportError", "RequestError"):
        from export import errors

        return getattr(errors, name)
    if name == "export":
        from export.api import export

        return export
    raise AttributeError(f"module 'export' has no attribute {name!r}")
