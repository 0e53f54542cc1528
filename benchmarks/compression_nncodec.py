"""SqueezeNet coded by nncodec (ISO/IEC 15938-17), beside the package's own files: bytes and divergence.

python -m venv nncodec-env && nncodec-env/bin/pip install nncodec
python benchmarks/compression_nncodec.py PHOTOS.zip --python nncodec-env/bin/python

nncodec needs torch and an older NumPy, so it runs in an environment of its own. It quantizes with a trellis of
dependent scalar quantizers, and is given one step for the whole network (its usual way), and steps for each layer by
the price that the package gives a bit (`export.compression.cluster`): both from one half of the photos. The others
judge it.
`--target-bytes` are files of the package, compressed with the same half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np


def main(options: argparse.Namespace) -> None:
    import kerascnn
    from export.checking.runtimes import open_keras
    from export.compression import compress, measure, state
    from export.images import find_images, labels_from_folders, load_images
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.preprocessing import find_preprocessing
    from kerascnn.weights.container import arrays_of

    model = kerascnn.applications.squeezenet(weights="imagenet")
    weights, arrays = model.get_weights(), arrays_of(model)
    source = find_images(options.photos)
    images = load_images(source, source.names, find_preprocessing(model)).images
    labels = np.array(labels_from_folders(source.names, None, [wnid for wnid, _ in imagenet_classes()], 1000))
    start = ("even", "odd").index(options.split)
    photos, others, wanted = images[start::2], images[1 - start :: 2], labels[1 - start :: 2]
    before = open_keras(model).predict_with_logits(others)
    sensitivities = measure(model, photos)

    print("| coded by | bytes | divergence, nats (95 %) | same best class | top-1, points lost (95 %) |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for qp in options.qp:
        size, decoded = coded(options.python, arrays, {"qp": qp})
        model.set_weights([decoded[path] for path in arrays])
        show(f"nncodec, one step (qp {qp})", size, open_keras(model).predict_with_logits(others), before, wanted)
    for price in options.price:
        steps = {path: step(sensitivity, price) for path, sensitivity in sensitivities.items()}
        size, decoded = coded(options.python, arrays, {"steps": steps})
        model.set_weights([decoded[path] for path in arrays])
        answers = open_keras(model).predict_with_logits(others)
        show(f"nncodec, steps by layer (price {price:g})", size, answers, before, wanted)
    for target in options.target_bytes:
        model.set_weights(weights)
        compress(model, photos, target_bytes=target, sensitivities=sensitivities)
        show("kerascnn", state(model).bytes, open_keras(model).predict_with_logits(others), before, wanted)


def step(sensitivity: Any, price: float) -> float:
    """Return the step of a layer at which another bit saves as much divergence as `price`."""
    diagonal = np.diagonal(sensitivity.compensation.triangle, axis1=-2, axis2=-1)
    importance = sensitivity.scale * float(np.exp(np.mean(-2 * np.log(diagonal))))
    return float(np.sqrt(12 / np.log(2) * price / importance))


def coded(python: Path, arrays: dict[str, np.ndarray], settings: dict[str, Any]) -> tuple[int, dict[str, np.ndarray]]:
    """Code arrays and decode them in the other environment; return the size of the stream, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.npz"), Path(folder, "made.npz")
        # the outputs of a kernel come first there, and its taps last
        np.savez(given, **{path: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for path, a in arrays.items()})
        command = [python, __file__, "--worker", given, made, json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"nncodec failed:\n{done.stderr[-2000:]}")
        with np.load(made) as file:
            decoded = {path: file[path] for path in arrays}
            size = int(file["bytes"])
    return size, {path: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for path, a in decoded.items()}


def show(name: str, size: int, answers: Any, before: Any, labels: np.ndarray) -> None:
    from kerascnn.statistics import log_probabilities, paired

    ours, theirs = (log_probabilities(one.logits) for one in (answers, before))
    divergence = (np.exp(theirs) * (theirs - ours)).sum(axis=-1)
    margin = 1.96 * divergence.std(ddof=1) / len(divergence) ** 0.5
    same = (ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean()
    hits = [(one.argmax(axis=-1) == labels).astype(float) for one in (ours, theirs)]
    lost = paired(*hits)
    spread = f"{divergence.mean() - margin:.4f} to {divergence.mean() + margin:.4f}"
    print(
        f"| {name} | {size:,} | {divergence.mean():.4f} ({spread}) | {same:.1%} "
        f"| {100 * lost.difference:.1f} ({100 * lost.low:.1f} to {100 * lost.high:.1f}) |",
        flush=True,
    )


def work(given: str, made: str, settings: dict[str, Any]) -> None:
    """Code and decode, where nncodec is installed."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # it does not fit a torch for CPUs; nncodec needs it for training alone
        sys.modules["torchvision"] = MagicMock()
    from nncodec import nn
    from nncodec.nnc_core.common import get_qp_from_stepsize

    with np.load(given) as file:
        arrays = {path: file[path] for path in file.files}
    with tempfile.TemporaryDirectory() as folder:
        options = {"qp": settings.get("qp", -32), "results": folder, "verbose": False}
        if "steps" in settings:
            options["qp_per_tensor"] = {
                path: int(get_qp_from_stepsize(size, 2)) for path, size in settings["steps"].items()
            }
        stream = nn.encode(dict(arrays), options)
        decoded = nn.decode(stream, options)
    np.savez(made, bytes=len(stream), **{path: decoded[path].reshape(arrays[path].shape) for path in arrays})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="of the environment that has nncodec")
    parser.add_argument("--split", choices=["even", "odd"], default="even", help="the photos that lead; others judge")
    parser.add_argument("--qp", type=int, nargs="*", default=[-32, -28, -26])
    parser.add_argument("--price", type=float, nargs="*", default=[5e-8, 1e-7, 2e-7])
    parser.add_argument("--target-bytes", type=int, nargs="*", default=[440_000, 350_000])
    main(parser.parse_args())
