"""int8 files on photos that they were not calibrated on, plain and prepared, for the trained SqueezeNet.

    python benchmarks/int8_holdout.py PHOTOS.zip

PHOTOS: a folder or zip with folders named by WordNet id. Three splits: even and odd photos both ways, and 100 against
the rest.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np

from kerascnn.statistics import with_interval


def main(photos: Path) -> None:
    import kerascnn
    from export.checking.accuracy import accuracy
    from export.checking.runtimes import open_keras
    from export.formats.tflite import write_tflite
    from export.formats.tflite_runtime import open_tflite
    from export.images import find_images, labels_from_folders, load_images, spread
    from export.tracing.graph import trace
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.preprocessing import find_preprocessing

    model = kerascnn.applications.squeezenet(weights="imagenet")
    source = find_images(photos)
    images = load_images(source, source.names, find_preprocessing(model)).images
    wnids = [wnid for wnid, _ in imagenet_classes()]
    labels = np.array(labels_from_folders(source.names, None, wnids, 1000))
    reference = open_keras(model).predict_with_logits(images)
    everything = np.arange(len(images))
    hundred = np.array([source.names.index(name) for name in spread(source.names, 100)])
    splits = {
        "even, odd": (everything[::2], everything[1::2]),
        "odd, even": (everything[1::2], everything[::2]),
        "100, the rest": (hundred, np.setdiff1d(everything, hundred)),
    }
    print("| calibrated on, measured on | file | SQNR dB | agreement | top-1 % (float) | top-5 % (float) |")
    print("|---|---|---:|---:|---:|---:|")
    for split, (calibrated, measured) in splits.items():
        shares: list[float] = []
        whole = accuracy(reference.output[measured], labels[measured])
        for precision in ("dynamic", "int8"):
            for prepared in (False, True):
                plain = mock.patch("export.quantization.calibration.prepare", lambda traced, *_, **__: traced.frozen)
                with tempfile.TemporaryDirectory() as folder, nullcontext() if prepared else plain:
                    path = Path(folder) / "model.tflite"
                    write_tflite(trace(model), path, precision, images[calibrated])
                    found = open_tflite(path).predict_with_logits(images[measured])
                logits = reference.logits[measured]
                sqnr = 10 * np.log10(np.sum(logits**2) / np.sum((found.logits - logits) ** 2))
                agreement = np.mean(found.logits.argmax(1) == logits.argmax(1))
                score = accuracy(found.output, labels[measured])
                top1 = f"{100 * score.top1:.1f} ({100 * whole.top1:.1f})"
                top5 = f"{100 * score.top5:.1f} ({100 * whole.top5:.1f})"
                file = f"{precision}, {'prepared' if prepared else 'plain'}"
                shares += [score.top1, score.top5]
                print(f"| {split} | {file} | {sqnr:.1f} | {agreement:.3f} | {top1} | {top5} |", flush=True)
        ends = " … ".join(with_interval(end, len(measured)) for end in (min(shares), max(shares)))
        print(f"| {split} | 95 % intervals | | | {ends} | |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
