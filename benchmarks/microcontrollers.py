"""Export LeNet-5, ResNet-20 and SqueezeNet for CIFAR for TFLite Micro, and write what they take into a page.

    python benchmarks/microcontrollers.py --write docs/microcontrollers.md

The weights come with kerascnn. Digits and photos are read from the folder KERASCNN_DATA; where it is absent, images are
synthetic, and the table says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from pages import replace_figures

import export
import kerascnn
from export.checking.parity import synthetic_images

DATA = Path(os.environ.get("KERASCNN_DATA", "../shared/data"))
NETWORKS = {"lenet5": "mnist", "resnet20_cifar": "cifar10", "squeezenet_cifar": "cifar10"}
PRECISIONS = ("int8", "int8-io")
IMAGES = 100
_HEADINGS = (
    "network",
    "precision",
    "flash: file, bytes",
    "arena, bytes",
    "of it activations",
    "operators",
    "from reference kernels",
    "from XNNPACK",
    "SQNR, dB",
)


def calibration(name: str, model: keras.Model) -> Any:
    """Return what the ranges are chosen with: digits, photos or synthetic images."""
    if name == "lenet5" and (DATA / "mnist.npz").exists():
        with np.load(DATA / "mnist.npz") as file:
            digits = np.pad(file["x_train"][:IMAGES], [(0, 0), (2, 2), (2, 2)])
        return kerascnn.preprocess_input(digits, model)
    photos = DATA / "cifar10_train.zip"
    if name != "lenet5" and photos.exists():
        return photos
    return synthetic_images(model.input_shape, IMAGES, low=-2, high=2)


def kind(given: Any) -> str:
    """Say what the images are."""
    if isinstance(given, Path):
        return f"photos of {given.name}"
    return "digits of mnist.npz" if (DATA / "mnist.npz").exists() else "synthetic images"


def rows(name: str, folder: Path) -> tuple[list[tuple[str, ...]], str]:
    """Export a network; return a row of the table a file, and a sentence on the images."""
    model = kerascnn.create_model(name, weights=NETWORKS[name])
    given = calibration(name, model)
    manifest = export.export(
        model, folder / name, formats=["tflite"], precisions=PRECISIONS, calibration=given, prove=["micro"]
    )
    table = []
    for artifact in manifest["artifacts"]:
        proof = artifact["proofs"][1]
        details = proof["details"]
        operators = ", ".join(f"{count} {operator}" for operator, count in details["operators"].items())
        table.append(
            (
                f"`{name}`",
                artifact["precision"],
                f"{artifact['bytes']:,}",
                f"{details['arena_bytes']:,}",
                f"{details['activation_bytes']:,}",
                operators,
                _difference(details.get("from_reference_kernels")),
                _difference(details.get("from_litert")),
                f"{proof['sqnr_db']:.1f}",
            )
        )
    counts = ", ".join(
        f"{artifact['proofs'][1]['images']} for {artifact['precision']}" for artifact in manifest["artifacts"]
    )
    return table, f"`{name}` was calibrated with and compared on {kind(given)} ({counts})."


def _difference(found: dict[str, int] | None) -> str:
    if found is None:
        return ""
    return f"{found['differing']} of {found['values']}, by {found['steps']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table of this page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, notes = [_HEADINGS, ("---", "---", *["---:"] * 3, "---", *["---:"] * 3)], []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            found, note = rows(name, Path(folder))
            lines += found
            notes.append(note)
    text = "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", *(f"- {note}" for note in notes), ""])
    print(text)
    if arguments.write:
        replace_figures(arguments.write, "figures", text)


if __name__ == "__main__":
    main()
