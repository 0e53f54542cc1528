"""What the processor under the tests can do."""

from pathlib import Path

import pytest

_INFO = Path("/proc/cpuinfo")
# x86 without VNNI adds pairs of int8 products in 16 bits, which overflow: ONNX Runtime's int8 files then answer with
# more noise than an export publishes.
EXACT_INT8 = not _INFO.exists() or "avx2" not in _INFO.read_text() or "vnni" in _INFO.read_text()
needs_exact_int8 = pytest.mark.skipif(not EXACT_INT8, reason="this processor's int8 products overflow (no VNNI)")
