"""Packed .tflite files: bytes beside .xz and .kdc, and how fast and how large the decoder in C is.

    python benchmarks/decoder.py [NETWORK ...] [--photos PHOTOS.zip] [--keep FOLDER]

Each network (lenet5, resnet20_cifar, squeezenet_cifar by default) gets its published weights and shares them at the
price of `--price`, with sensitivities from 125 of the photos, or else from random images. Its .tflite files are packed
and unpacked by the decoder, compiled with -O2: the time is that of the processor, the best of 15 runs. In the end come
the bytes of the decoder's machine code, for each compiler that is there.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("float32", "float16", "dynamic", "int8", "sparse-float16", "sparse-dynamic", "sparse-int8")
DECODER = Path(__file__).parents[1] / "export/decoder"
MACHINES = {
    "x86-64, gcc -O2": ("gcc", "-O2"),
    "x86-64, gcc -Os": ("gcc", "-Os"),
    "x86-64, clang -O2": ("clang", "-O2"),
    "Cortex-M4, arm-none-eabi-gcc -Os": ("arm-none-eabi-gcc", "-Os", "-mcpu=cortex-m4", "-mthumb"),
}
RUNS = 15
PHOTOS = 125  # to measure on, at most


class Info(ctypes.Structure):
    _fields_ = (
        ("output_size", ctypes.c_uint32),
        ("workspace_size", ctypes.c_size_t),
        ("weights", ctypes.c_uint32),
        ("plain_size", ctypes.c_uint32),
    )


def main(options: argparse.Namespace) -> None:
    from export.checking.sizes import as_xz
    from export.packing import pack

    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        print("| network | file | bytes | .xz | .kdz | .kdc | workspace | ms | MB/s |\n|---|---|" + "---:|" * 7)
        for name in options.networks:
            kernels, coded, written = exported(name, options)
            for precision, data in written:
                packed = pack(data, kernels)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{name}_{precision}.tflite").write_bytes(data)
                    (options.keep / f"{name}_{precision}.tflite.kdz").write_bytes(packed)
                seconds, info = timed(library, packed, data)
                numbers = (len(data), len(as_xz(data)), len(packed), coded, info.workspace_size)
                row = " | ".join(f"{number:,}" for number in numbers)
                speed = f"{1e3 * seconds:.1f} | {len(data) / seconds / 1e6:.0f}"
                print(f"| {name} | {precision} | {row} | {speed} |", flush=True)
        for machine, size in code_sizes(Path(folder)):
            print(f"{machine}: {size:,} bytes of code and constants")


def exported(name: str, options: argparse.Namespace) -> tuple[list[np.ndarray], int, Iterator[tuple[str, bytes]]]:
    """The network's kernels, the bytes of its .kdc file, and its .tflite files."""
    from export.compression import cluster, measure, state
    from export.opening import build
    from export.tracing.graph import trace

    model = build(name, weights="auto", input_size=None, classes=None, warn=print).model
    photos = images(model, options.photos)
    cluster(model, 8, price=options.price, sensitivities=measure(model, photos))
    kernels = [weight for weight in map(np.asarray, model.weights) if weight.ndim in (2, 4)]
    return kernels, state(model).bytes, files(trace(model), photos)


def images(model: Any, photos: Path | None) -> np.ndarray:
    from export.images import find_images, load_images
    from kerascnn.photos.preprocessing import find_preprocessing

    if photos is None:
        return np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype(np.float32)
    source = find_images(photos)
    return load_images(source, source.names[:: max(2, len(source.names) // PHOTOS)], find_preprocessing(model)).images


def files(traced: Any, photos: np.ndarray) -> Iterator[tuple[str, bytes]]:
    from export.errors import ExportError
    from export.formats.tflite import write_tflite

    with tempfile.TemporaryDirectory() as folder:
        for precision in FILES:
            path = Path(folder) / f"{precision}.tflite"
            try:
                write_tflite(traced, path, precision, photos)
            except ExportError:  # a sparse file would be no smaller
                continue
            yield precision, path.read_bytes()


def compiled(folder: Path) -> Any:
    target = folder / "kdz.so"
    compiler = shutil.which("gcc") or shutil.which("clang") or "cc"
    subprocess.run(
        [compiler, "-std=c99", "-O2", "-shared", "-fPIC", str(DECODER / "kdz.c"), "-o", str(target)], check=True
    )
    return ctypes.CDLL(str(target))


def timed(library: Any, packed: bytes, data: bytes) -> tuple[float, Info]:
    """The best time in seconds."""
    info, size = Info(), ctypes.c_size_t(len(packed))
    assert library.kdz_inspect(packed, size, ctypes.byref(info)) == 0
    output, workspace = ctypes.create_string_buffer(info.output_size), ctypes.create_string_buffer(info.workspace_size)
    sizes = ctypes.c_size_t(info.output_size), ctypes.c_size_t(info.workspace_size)
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        code = library.kdz_unpack(packed, size, output, sizes[0], workspace, sizes[1])
        best = min(best, time.process_time() - start)
        assert code == 0
        assert output.raw == data
    return best, info


def code_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for machine, (command, *options) in MACHINES.items():
        prefix = command.removesuffix("gcc") if command.endswith("eabi-gcc") else ""
        if shutil.which(command) is None or shutil.which(f"{prefix}size") is None:
            continue
        target = folder / "kdz.o"
        subprocess.run([command, "-std=c99", *options, "-c", str(DECODER / "kdz.c"), "-o", str(target)], check=True)
        done = subprocess.run([f"{prefix}size", str(target)], capture_output=True, text=True, check=True)
        text, data, _ = map(int, done.stdout.splitlines()[1].split()[:3])
        yield machine, text + data


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["lenet5", "resnet20_cifar", "squeezenet_cifar"])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--price", type=float, default=2e-7, help="nats that a bit of the .kdc file may cost")
    parser.add_argument("--keep", type=Path, help="where the files are written to, too")
    main(parser.parse_args())
