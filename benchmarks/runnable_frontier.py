"""Accuracy against bytes of the .tflite files that run as they are, and of the coded file, over sparsity and bits.

    python benchmarks/runnable_frontier.py PHOTOS.zip FOLDER [--odd] [--sparsity 0,0.75] [--bits 5,8]

The trained SqueezeNet, compressed on every second photo of PHOTOS (folders named by WordNet id) and measured on the
others; `--odd` swaps the two. For each sparsity (0: as the weights come, two thirds zeros) and each number of bits a
weight, the coded file and every .tflite file: bytes, bytes as .xz, memory, latency, top-1, top-5 and the divergence
from the original network in nats. FOLDER/frontier.csv gets a line a file as soon as it is measured, and nothing in it
is done again. FOLDER/frontier.svg is the plot; what is printed at the end says which file is the smallest within one
point.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from judging import judged, read, write

if TYPE_CHECKING:
    from export.compression.frontier import Row

SIZES = ("bytes", "packed", "memory", "latency_ms")
FIELDS = ("split", "sparsity", "bits", "file", "zeros", *SIZES, "divergence", "agreement", "top1", "top5")
FILES = ("dynamic", "int8", "int4", "sparse-float16", "sparse-dynamic", "sparse-int8")
WITHIN = 0.01  # of top-1
THREADS = 1


def main(options: argparse.Namespace) -> None:
    import kerascnn
    from export.checking.runtimes import open_keras
    from export.compression import measure, state, sweep
    from export.errors import ExportError
    from export.formats.tflite import write_tflite
    from export.formats.tflite_runtime import open_tflite
    from export.images import find_images, labels_from_folders, load_images
    from export.tracing.graph import trace
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.preprocessing import find_preprocessing

    options.folder.mkdir(parents=True, exist_ok=True)
    table = options.folder / "frontier.csv"
    done = read(table)
    split = "odd" if options.odd else "even"
    model = kerascnn.applications.squeezenet(weights="imagenet")
    source = find_images(options.photos)
    photos, others = (
        load_images(source, source.names[start::2], find_preprocessing(model)).images
        for start in ((1, 0) if options.odd else (0, 1))
    )
    names = source.names[0 if options.odd else 1 :: 2]
    labels = np.array(labels_from_folders(names, None, [wnid for wnid, _ in imagenet_classes()], 1000))
    reference = open_keras(model).predict_with_logits(others)

    def add(file: str, settings: dict[str, Any], answers: Any, zeros: float, **sizes: Any) -> None:
        row = {"split": split, **settings, "file": file, "zeros": round(zeros, 4), **sizes}
        row |= judged(answers, reference, labels)
        done.append({field: str(row.get(field, "")) for field in FIELDS})
        write(table, FIELDS, done)
        print(row, flush=True)

    def files(settings: dict[str, Any], zeros: float) -> None:
        traced = trace(model)
        for precision in ("float32", *FILES) if settings["bits"] == "as they are" else FILES:
            if has(done, split, settings, precision):
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.tflite"
                try:
                    write_tflite(traced, path, precision, photos)
                    answers = open_tflite(path, THREADS).predict_with_logits(others)
                except (ExportError, RuntimeError) as error:
                    print(f"{settings} {precision}: {str(error)[:200]}", flush=True)
                    continue
                add(precision, settings, answers, zeros, **weighed(path, others))

    plain = {"sparsity": 0.0, "bits": "as they are"}
    now = state(model)
    if not has(done, split, plain, "coded"):
        add("coded", plain, reference, now.sparsity, bytes=now.bytes)
    files(plain, now.sparsity)
    sensitivities = None
    for sparsity in options.sparsity:
        for bits in options.bits:
            settings = {"sparsity": sparsity, "bits": bits}
            if all(has(done, split, settings, file) for file in ("coded", *FILES)):
                continue
            sensitivities = sensitivities or measure(model, photos)

            def each(row: Row, settings: dict[str, Any] = settings) -> None:
                if not has(done, split, settings, "coded"):
                    add("coded", settings, open_keras(model).predict_with_logits(others), row.zeros, bytes=row.bytes)
                files(settings, row.zeros)

            grid = {"sparsities": [sparsity], "bits": [bits], "held_out": others[:1]}
            sweep(model, photos, **grid, sensitivities=sensitivities, each=each)
    report(done, options.folder)


def weighed(path: Path, images: np.ndarray) -> dict[str, Any]:
    from export.checking import sizes
    from export.checking.latency import measure_latency
    from export.formats.tflite_runtime import open_tflite

    latency = measure_latency(open_tflite(path, THREADS), images[0], runs=50)
    return {
        "bytes": path.stat().st_size,
        "packed": len(sizes.as_xz(path.read_bytes())),
        "memory": sizes.memory(path, THREADS),
        "latency_ms": round(latency.median_ms, 2),
    }


def has(done: list[dict[str, str]], split: str, settings: dict[str, Any], file: str) -> bool:
    wanted = {"split": split, "file": file, **{name: str(value) for name, value in settings.items()}}
    return any(all(row[name] == value for name, value in wanted.items()) for row in done)


def report(done: list[dict[str, str]], folder: Path) -> None:
    for split in sorted({row["split"] for row in done}):
        rows = [row for row in done if row["split"] == split]
        float_top1 = next(float(row["top1"]) for row in rows if row["bits"] == "as they are")
        for title in ("runnable", "coded"):
            chosen = [row for row in rows if (row["file"] == "coded") == (title == "coded")]
            good = [row for row in chosen if float(row["top1"]) >= float_top1 - WITHIN - 1e-9]
            smallest = min(good, key=lambda row: int(row["bytes"]))
            print(f"{split}: smallest {title} within {100 * WITHIN:g} point of {100 * float_top1:.1f} %: {smallest}")
    draw(done, folder / "frontier.svg")


def draw(done: list[dict[str, str]], path: Path) -> None:
    """A panel for each split: kB against top-1, a series for each kind of file."""
    from matplotlib.figure import Figure

    splits = sorted({row["split"] for row in done})
    figure = Figure(figsize=(7.5 * len(splits), 4.5), layout="constrained")
    for axes, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        rows = [row for row in done if row["split"] == split and row["file"] != "float32"]
        for (file, points), marker in zip(by_file(rows), "o*sD^vP", strict=False):
            sizes, top1 = ([float(row[field]) for row in points] for field in ("bytes", "top1"))
            axes.plot(np.divide(sizes, 1000), np.multiply(top1, 100), marker, label=file, alpha=0.8)
        base = next(float(row["top1"]) for row in rows if row["bits"] == "as they are")
        axes.axhline(100 * (base - WITHIN), color="gray", linestyle=":", label="one point below float32")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel("kB")
        axes.set_ylabel("top-1, %")
        axes.set_title(f"compressed on {split} photos, measured on the others")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)


def by_file(rows: list[dict[str, str]]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for file in ("coded", *FILES):
        points = [row for row in rows if row["file"] == file]
        if points:
            yield file, points


def arguments() -> argparse.Namespace:
    def numbers(kind: type) -> Any:
        return lambda text: [kind(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--odd", action="store_true")
    parser.add_argument("--sparsity", type=numbers(float), default=[0.0, 0.7, 0.75, 0.8])
    parser.add_argument("--bits", type=numbers(int), default=[4, 5, 6, 8])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(arguments()))
