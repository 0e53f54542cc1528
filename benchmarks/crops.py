"""Top-1 and top-5 of one network on labelled photos: one centre crop, ten crops, GoogLeNet's 144 crops, several scales.

python benchmarks/crops.py PHOTOS.zip [VARIANT/WEIGHTS]    squeezenet/imagenet by default; the photos lie in folders
named by WordNet id or class index. 145 crops a photo take minutes on a CPU.
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

from kerascnn.statistics import with_interval

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDES = (256, 288, 320, 352)
EVALUATIONS = ("centre", "ten", "scales", "144")


def main(photos: Path, weights: str = "squeezenet/imagenet") -> None:
    import numpy as np
    from PIL import Image

    import kerascnn
    from export.checking.accuracy import accuracy
    from export.images import find_images, labels_from_folders
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.crops import predict_crops, predict_scales

    variant, _, name = weights.partition("/")
    model = kerascnn.create_model(variant, weights=name)
    anysize = kerascnn.create_model(variant, weights=name, input_shape=(None, None, 3))
    source = find_images(photos)
    labels = labels_from_folders(source.names, None, [wnid for wnid, _ in imagenet_classes()], 1000)
    opened = [Image.open(io.BytesIO(source.open(name))) for name in source.names]
    views = {"centre": 1, "ten": 10, "144": 144, "scales": 2 * len(SIDES)}
    print("| views | views a photo | top-1 (95 % interval) | top-5 | seconds a photo |\n|---|---:|---:|---:|---:|")
    for evaluation in EVALUATIONS:
        start = time.perf_counter()
        if evaluation == "scales":
            scores = predict_scales(anysize, opened, SIDES)
        else:
            scores = predict_crops(model, opened, evaluation)
        seconds = (time.perf_counter() - start) / len(opened)
        found = accuracy(np.asarray(scores), labels)
        row = (
            f"| {evaluation} | {views[evaluation]} | {with_interval(found.top1, found.images)} | "
            f"{with_interval(found.top5, found.images)} | {seconds:.2f} |"
        )
        print(row, flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
