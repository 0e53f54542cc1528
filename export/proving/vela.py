"""What an int8 .tflite file takes on an Arm Ethos-U, the NPU of microcontrollers, by the estimate of its compiler."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from signal import Signals
from typing import Any

from export.proving.operators import count_operators

PACKAGE = "ethos-u-vela"
ACCELERATOR = "ethos-u55-128"  # all else is Vela's default, which the estimate names
_SECONDS = 60
_ON_NPU = "CUSTOM"  # the operator that Vela puts in place of those that the NPU computes


def estimate(path: Path) -> dict[str, Any] | None:
    """Compile a file for the NPU; nothing is kept of it but the numbers.

    Vela has a process of its own, which ends by a signal where a file is bad.

    Args:
        path: The file.

    Returns:
        What it takes, or the `reason` why that is not known; None where Vela is not installed.
    """
    if importlib.util.find_spec("ethosu") is None:
        return None
    said = {"vela": importlib.metadata.version(PACKAGE), "accelerator": ACCELERATOR}
    with tempfile.TemporaryDirectory() as name:
        # -P: the working directory must not stand before the installed packages.
        command = [sys.executable, "-P", "-m", "ethosu.vela", str(path), "--accelerator-config", ACCELERATOR]
        command += ["--output-dir", name]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return {**said, "reason": f"Vela did not end within {_SECONDS} seconds."}
        tables, compiled = (list(Path(name).glob(f"{path.stem}_{kind}")) for kind in ("summary_*.csv", "vela.tflite"))
        if ended.returncode or not tables or not compiled:
            code = ended.returncode
            return {**said, "reason": f"Vela ended {f'by {Signals(-code).name}' if code < 0 else f'with code {code}'}."}
        with tables[0].open(encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
        operators = count_operators(compiled[0].read_bytes())
    return {
        **said,
        "system": row["system_config"],
        "memory": row["memory_mode"],
        "megahertz": round(float(row["core_clock"]) / 1e6),
        "cycles": int(row["cycles_total"]),
        "milliseconds": 1e3 * float(row["inference_time"]),
        "sram_bytes": _bytes(row["sram_memory_used"]),
        "flash_bytes": _bytes(row["off_chip_flash_memory_used"]),
        "on_processor": {name: count for name, count in operators.items() if name != _ON_NPU},
    }


def _bytes(kibibytes: str) -> int:
    return round(1024 * float(kibibytes))
