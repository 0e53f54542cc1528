"""Forward passes measured on this machine: time, memory and energy against batch size.

Each network runs in a process of its own, `python -m kerascnn.analysis.measuring NAME BATCH...`, which has no other
memory. The figures are kept beside the cached weights, for these versions and this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerascnn.files import replacing

BATCH_SIZES = (1, 2, 4, 8, 16)
RUNS = (3, 20)  # at least, at most
SECONDS = 2.0  # after which no further run begins
NO_METERS = "Energy: this machine has no counter that may be read (/sys/class/powercap)."
POWERCAP = Path("/sys/class/powercap")
_PACKAGES = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",), "torch": ("torch",)}


@dataclass(frozen=True)
class Measured:
    """A forward pass of a batch, by Keras's predict_on_batch with random weights and images.

    Attributes:
        batch: Images in it.
        milliseconds: Median of the runs.
        memory_mib: The most memory of the process above what it had with the weights before the first pass:
            activations, scratch space and rearranged weights. None if the system does not tell, and on an accelerator,
            whose memory is not the process's.
        joules: The energy that the processor used, for other work too; None if the machine does not count it.
        day: When, as YYYY-MM-DD.
    """

    batch: int
    milliseconds: float
    memory_mib: float | None
    joules: float | None
    day: str


def check_batch_sizes(batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """Sort batch sizes and drop repeated ones.

    Raises:
        ValueError: There is none, or one is not a positive whole number.
    """
    if not batch_sizes or not all(isinstance(size, int) and size > 0 for size in batch_sizes):
        raise ValueError(f"Batch sizes are whole numbers from 1 on, such as 1, 4, 16; they are {list(batch_sizes)}.")
    return tuple(sorted(set(batch_sizes)))


def measure(name: str, batch_sizes: Sequence[int] = BATCH_SIZES) -> tuple[Measured, ...]:
    """Measure a variant's forward passes, except those on record for these versions and this machine.

    Raises:
        ValueError: See `check_batch_sizes`.
        RuntimeError: A pass failed, for example because memory was too small.
    """
    sizes = check_batch_sizes(batch_sizes)
    file = _record(name)
    known = {row["batch"]: row for row in _read(file)}
    missing = [size for size in sizes if size not in known]
    if missing:
        known |= {row["batch"]: row for row in _run(name, missing)}
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            partial.write_text(json.dumps(sorted(known.values(), key=lambda row: row["batch"])), encoding="utf-8")
    return tuple(Measured(**known[size]) for size in sizes)


def backend() -> str:
    """Find the backend that Keras will use, without importing it."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def machine() -> str:
    """Name the processor and count its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def versions() -> str:
    """List the versions that matter, such as `kerascnn 0.1.0, keras 3.15.1, tensorflow 2.21.0`."""
    import importlib.metadata

    import kerascnn

    version = "?"
    for package in _PACKAGES.get(backend(), ()):
        try:
            version = importlib.metadata.version(package)
            break
        except importlib.metadata.PackageNotFoundError:
            continue
    keras = importlib.metadata.version("keras")
    return f"kerascnn {kerascnn.__version__}, keras {keras}, {backend()} {version}"


def _record(name: str) -> Path:
    from kerascnn.weights.sources import cache_folder

    key = hashlib.sha256(f"{versions()}; {machine()}".encode()).hexdigest()[:12]
    return cache_folder().parent / "measurements" / f"{name}-{key}.json"


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [asdict(Measured(**row)) for row in rows]
    except (OSError, ValueError, TypeError):  # there is no file, or it has another form
        return []


def _run(name: str, batch_sizes: Sequence[int]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "kerascnn.analysis.measuring", name, *map(str, batch_sizes)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode:
        errors = done.stderr.strip().splitlines()
        reason = errors[-1] if errors else f"its process ended with {done.returncode}, perhaps for lack of memory"
        raise RuntimeError(f"{name} could not be measured at batch sizes {list(batch_sizes)}: {reason}")
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


# The process that measures


def _measure_here(name: str, batch_sizes: Sequence[int]) -> list[Measured]:
    import statistics

    import keras
    import numpy as np

    import kerascnn

    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    small.predict_on_batch(
        np.zeros((1, 8, 8, 3), np.float32)
    )  # what the backend sets up once does not belong to the network
    model = kerascnn.create_model(name)
    random = np.random.default_rng(0)
    accelerated = not all(device.lower().startswith("cpu") for device in keras.distribution.list_devices())
    before = _status("VmRSS")
    rows = []
    for batch in batch_sizes:
        images = random.normal(size=(batch, *model.inputs[0].shape[1:])).astype("float32")
        forgotten = _forget_peak()
        model.predict_on_batch(images)
        times: list[float] = []
        energy = _energy()
        while len(times) < RUNS[0] or (len(times) < RUNS[1] and sum(times) < SECONDS):
            start = time.perf_counter()
            model.predict_on_batch(images)
            times.append(time.perf_counter() - start)
        used = _spent(energy, _energy())
        peak = _status("VmHWM") if forgotten else None
        rows.append(
            Measured(
                batch,
                1000 * statistics.median(times),
                None if peak is None or before is None or accelerated else max(0.0, peak - before),
                None if used is None else used / len(times),
                datetime.now(UTC).date().isoformat(),
            )
        )
    return rows


def _status(key: str) -> float | None:
    """Read a line of Linux's account of this process, in MiB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, StopIteration):
        return None


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets VmHWM to the present memory
    except OSError:
        return False
    return True


def energy_meters() -> list[Path]:
    """List the counters of processor packages that may be read; on most systems only the administrator may."""
    folders = [folder for folder in sorted(POWERCAP.glob("intel-rapl:*")) if folder.name.count(":") == 1]
    return [folder for folder in folders if os.access(folder / "energy_uj", os.R_OK)]


def _energy() -> list[tuple[int, int]]:
    """Read each meter: microjoules, and the limit after which it begins again at 0."""
    return [
        (int((folder / "energy_uj").read_text()), int((folder / "max_energy_range_uj").read_text()))
        for folder in energy_meters()
    ]


def _spent(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> float | None:
    """Return the joules between two readings; None without meters."""
    if not before or len(before) != len(after):
        return None
    return sum((now - then) % (limit + 1) for (then, limit), (now, _) in zip(before, after, strict=True)) / 1e6


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in _measure_here(sys.argv[1], [int(size) for size in sys.argv[2:]])]))
