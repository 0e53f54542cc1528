"""Export LeNet-5, ResNet-20 and SqueezeNet for CIFAR for TFLite Micro, and write what they take into a page.

    python benchmarks/microcontrollers.py --write docs/microcontrollers.md

A second table has what their int8-io files take on an Arm Ethos-U, by Vela's estimate, which needs the extra `vela`.

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
_ON_NPU = ("network", "cycles", "one image, ms", "SRAM, bytes", "flash, bytes", "operators on the processor")


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


def rows(name: str, folder: Path) -> tuple[list[tuple[str, ...]], tuple[str, ...], str]:
    """Export a network; return a row of the table a file, one on its int8-io file, and a sentence on the images."""
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
    npu = manifest["artifacts"][-1]["proofs"][1]["details"]["ethos_u"]
    left = ", ".join(f"{count} {operator}" for operator, count in npu["on_processor"].items()) or "none"
    sizes = (f"{npu[key]:,}" for key in ("sram_bytes", "flash_bytes"))
    estimated = (f"`{name}`", f"{npu['cycles']:,}", f"{npu['milliseconds']:.2f}", *sizes, left)
    return table, estimated, f"`{name}` was calibrated with and compared on {kind(given)} ({counts})."


def _difference(found: dict[str, int] | None) -> str:
    if found is None:
        return ""
    return f"{found['differing']} of {found['values']}, by {found['steps']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the tables of this page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, notes = [_HEADINGS, ("---", "---", *["---:"] * 3, "---", *["---:"] * 3)], []
    estimates = [_ON_NPU, ("---", *["---:"] * 4, "---")]
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            found, estimated, note = rows(name, Path(folder))
            lines += found
            estimates.append(estimated)
            notes.append(note)
    text, on_npu = _table(lines), _table(estimates)
    text += "\n".join(["", *(f"- {note}" for note in notes), ""])
    print(text, on_npu, sep="\n")
    if arguments.write:
        replace_figures(arguments.write, "figures", text)
        replace_figures(arguments.write, "estimates", on_npu)


def _table(lines: list[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
