"""Export networks and prove every file in every runtime that is installed; write the matrices into a page.

    python benchmarks/proofs.py --write docs/proving.md
    python benchmarks/proofs.py lenet5 unet

Reads photos and SqueezeNet's weights from the folder KERASCNN_DATA. The last two networks are not kerascnn's own; their
weights are random.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import foreign_models  # beside this file
import keras
import numpy as np
from pages import figures, replace_figures

import export
import kerascnn
from export.checking.parity import synthetic_images
from export.report import proofs

DATA = Path(os.environ.get("KERASCNN_DATA", "../shared/data"))
PRECISIONS = ("float16", "dynamic", "int8", "int8-io")
CIFAR = DATA / "cifar10_train.zip"
Made = tuple[keras.Model, Any]  # a model, and what its files are calibrated with


def digits() -> Made:
    """LeNet-5, and 250 digits as it takes them."""
    model = kerascnn.create_model("lenet5", weights="mnist")
    with np.load(DATA / "mnist.npz") as file:
        return model, kerascnn.preprocess_input(np.pad(file["x_train"][:250], [(0, 0), (2, 2), (2, 2)]), model)


def other(name: str) -> Made:
    """A network that kerascnn did not build, and synthetic images."""
    keras.utils.set_random_seed(0)
    model = foreign_models.moved(foreign_models.MODELS[name]())
    return model, synthetic_images(model.input_shape, 100)


NETWORKS: dict[str, Callable[[], Made]] = {
    "squeezenet": lambda: (
        kerascnn.create_model("squeezenet", weights=str(DATA / "squeezenet_v1.0_deep_compression.net")),
        DATA / "imagenet_sample_250.zip",
    ),
    "resnet20_cifar": lambda: (kerascnn.create_model("resnet20_cifar", weights="cifar10"), CIFAR),
    "squeezenet_cifar": lambda: (kerascnn.create_model("squeezenet_cifar", weights="cifar10"), CIFAR),
    "lenet5": digits,
    "MobileNetV2": lambda: other("MobileNetV2"),
    "unet": lambda: other("unet"),
}


def section(name: str, folder: Path) -> list[str]:
    """Export a network, and say in lines of Markdown what came of it."""
    model, calibration = NETWORKS[name]()
    options: dict[str, Any] = {"precisions": PRECISIONS, "calibration": calibration, "prove": ["all"]}
    try:
        manifest = export.export(model, folder / name, **options)
    except export.ExportError as error:
        manifest = getattr(error, "manifest", None)
        if manifest is None:
            return [f"Nothing was published: {error}", ""]
    check = manifest["verification"]
    failed = [f"Not published: {row['format']} {row['precision']}: {row['reason']}" for row in manifest["rejected"]]
    _, _, *lines = proofs.markdown(manifest)  # without its heading
    notes = [f"Compared on {check['images']} {check['source']}.", *proofs.notes(manifest), *failed]
    return [*lines, *(f"- {note}" for note in notes), ""]


def write(page: Path, sections: dict[str, list[str]]) -> None:
    """Replace the sections of networks in a page, and keep those of others."""
    old = figures(page, "matrices")
    known = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip("\n") for part in old.split("### ")[1:]}
    known |= {name: "\n".join(lines).strip("\n") for name, lines in sections.items()}
    text = "\n\n".join(f"### {name}\n\n{known[name]}" for name in NETWORKS if name in known)
    replace_figures(page, "matrices", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}; all by default")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace their sections of this page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            lines = section(name, Path(folder))
        print(name, *lines, sep="\n", flush=True)
        if arguments.write:
            write(arguments.write, {name: lines})
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
