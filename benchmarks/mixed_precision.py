"""Files of mixed precision and of int4 for the trained SqueezeNet, on photos that they were not chosen on.

    python benchmarks/mixed_precision.py PHOTOS.zip [TARGET_BYTES ...]

PHOTOS: a folder or zip with folders named by WordNet id. Even and odd photos take turns: precisions are chosen and
weights rounded on one half, and the files judged on the other, by the middle of each photo and by ten crops of it
(corners and middle, mirrored too). A row for both halves together has the paired differences from float32, with 95 %
intervals in which the ten crops of a photo count as one. "Expected" needs no labels: it is what the crops lose if
float32's probabilities are true. The files hold no labels.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from judging import judged


def main(photos: Path, targets: list[int]) -> None:
    import kerascnn
    from export.checking.runtimes import open_keras
    from export.images import find_images, labels_from_folders, load_images
    from export.quantization.goal import Goal
    from export.quantization.searching import expected_drop
    from export.tracing.graph import trace
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.crops import ten_crops
    from kerascnn.photos.preprocessing import find_preprocessing
    from kerascnn.statistics import log_probabilities

    model = kerascnn.applications.squeezenet(weights="imagenet")
    source = find_images(photos)
    known = find_preprocessing(model)
    images = load_images(source, source.names, known).images
    whole = load_images(source, source.names, replace(known, crop=None)).images
    labels = np.array(labels_from_folders(source.names, None, [wnid for wnid, _ in imagenet_classes()], 1000))
    traced = trace(model)
    print("| file | judged on | bytes | divergence | agreement | top-1 | lost | lost by crops | expected |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    halves, float32 = [], open_keras(model)
    for name, first in (("odd", 0), ("even", 1)):
        crops = np.concatenate([ten_crops(image, images.shape[1]) for image in whole[1 - first :: 2]])
        views = [images[1 - first :: 2], crops]
        before = [float32.predict_with_logits(view) for view in views]
        halves.append((name, images[first::2], labels[1 - first :: 2], views, before))
    for precision, target in (("sparse-dynamic", None), ("int4", None), *(("auto", target) for target in targets)):
        both: list[np.ndarray] = []
        title = f"| {precision}{f', at most {target:,}' if target else ''} |"
        for name, chosen_on, wanted, views, before in halves:
            size, file = made(traced, precision, chosen_on, Goal(None, target))
            after = [file.predict_with_logits(view) for view in views]
            found = judged(after[0], before[0], wanted)
            expected = expected_drop(*(log_probabilities(one.logits) for one in (before[1], after[1])))
            pairs = zip(before, after, strict=True)
            both.append(np.stack([right(one.output, wanted) for pair in pairs for one in pair]))
            print(
                f"{title} {name} | {size:,} | {found['divergence']:.4f} | {found['agreement']:.3f} "
                f"| {found['top1']:.3f} | {difference(both[-1][:2])} | {difference(both[-1][2:])} | {expected:.2f} |",
                flush=True,
            )
        together = np.concatenate(both, axis=1)
        print(f"{title} both | | | | | {difference(together[:2])} | {difference(together[2:])} | |", flush=True)


def made(traced: Any, precision: str, chosen_on: np.ndarray, goal: Any) -> tuple[int, Any]:
    """Return the size of a file, and its runtime."""
    from export.formats.tflite import write_tflite
    from export.formats.tflite_runtime import open_tflite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        write_tflite(traced, path, precision, chosen_on, goal=goal)
        return path.stat().st_size, open_tflite(path)


def right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share of views of each photo whose best class is its own; where classes are tied, the chance of that."""
    from kerascnn.statistics import hits, ranks

    views = np.repeat(labels, len(scores) // len(labels))
    return hits(*ranks(scores.reshape(len(views), -1), views), 1).reshape(len(labels), -1).mean(axis=1)


def difference(hits: np.ndarray) -> str:
    """The points that the second of [2, photos] loses beside the first, with the interval of the paired difference."""
    from kerascnn.statistics import paired

    lost = paired(*hits[::-1])
    return f"{100 * lost.difference:.1f} ({100 * lost.low:.1f} to {100 * lost.high:.1f})"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]] or [739_000])
