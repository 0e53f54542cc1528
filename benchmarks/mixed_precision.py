"""Files of mixed precision and of int4 for the trained SqueezeNet, on photos that they were not chosen on.

    python benchmarks/mixed_precision.py PHOTOS.zip [TARGET_BYTES ...]

PHOTOS: a folder or zip with folders named by WordNet id. Even and odd photos take turns: precisions are chosen and
weights rounded on one half, and the files judged on the other. A row for both halves together has the paired difference
from float32 with its 95 % interval. The files hold no labels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from judging import judged


def main(photos: Path, targets: list[int]) -> None:
    import kerascnn
    from export.checking.runtimes import open_keras
    from export.images import find_images, labels_from_folders, load_images
    from export.quantization.goal import Goal
    from export.tracing.graph import trace
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.preprocessing import find_preprocessing

    model = kerascnn.applications.squeezenet(weights="imagenet")
    source = find_images(photos)
    images = load_images(source, source.names, find_preprocessing(model)).images
    labels = np.array(labels_from_folders(source.names, None, [wnid for wnid, _ in imagenet_classes()], 1000))
    traced = trace(model)
    print("| file | judged on | bytes | divergence | agreement | top-1 | lost, points (95 % interval) |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for precision, target in (("sparse-dynamic", None), ("int4", None), *(("auto", target) for target in targets)):
        pairs: list[np.ndarray] = []
        for name, first in (("odd", 0), ("even", 1)):
            others = slice(1 - first, None, 2)
            reference = open_keras(model).predict_with_logits(images[others])
            size, answers = made(traced, precision, images[first::2], Goal(None, target), images[others])
            found = judged(answers, reference, labels[others])
            pairs.append(np.stack([right(one.output, labels[others]) for one in (reference, answers)]))
            title = f"| {precision}{f', at most {target:,}' if target else ''} |"
            print(
                f"{title} {name} | {size:,} | {found['divergence']:.4f} | {found['agreement']:.3f} "
                f"| {found['top1']:.3f} | {difference(pairs[-1])} |",
                flush=True,
            )
        print(f"{title} both | | | | | {difference(np.concatenate(pairs, axis=1))} |", flush=True)


def made(traced: Any, precision: str, chosen_on: np.ndarray, goal: Any, others: np.ndarray) -> tuple[int, Any]:
    """Return the size of a file and its answers."""
    from export.formats.tflite import write_tflite
    from export.formats.tflite_runtime import open_tflite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        write_tflite(traced, path, precision, chosen_on, goal=goal)
        return path.stat().st_size, open_tflite(path).predict_with_logits(others)


def right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each photo whether its class is the best one; where classes are tied, the chance of that."""
    from kerascnn.statistics import hits, ranks

    return hits(*ranks(scores.reshape(len(labels), -1), labels), 1)


def difference(hits: np.ndarray) -> str:
    """The points that the second of [2, photos] has lost to the first, with the interval of the paired difference."""
    from kerascnn.statistics import paired

    lost = paired(*hits[::-1])
    return f"{100 * lost.difference:.1f} ({100 * lost.low:.1f} to {100 * lost.high:.1f})"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]] or [739_000])
