"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.errors import ServingError

_THREADS = 2


def session(path: Path) -> Any:
    """Load an ONNX file.

    Raises:
        ServingError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ServingError("ONNX files run in ONNX Runtime, an extra: pip install 'kerascnn[export]'.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    options.log_severity_level = 3
    # On x86 without VNNI the default int8 kernels add in 16 bits, which overflow; these add in 32 (docs/export.md).
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
