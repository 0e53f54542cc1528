"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.errors import ServingError


def session(path: Path) -> Any:
    """Load an ONNX file.

    Raises:
        ServingError: ONNX Runtime is not installed.
    """
    from kerascnn.photos import runtimes

    try:
        return runtimes.session(str(path))
    except ModuleNotFoundError as error:
        raise ServingError(str(error)) from error
