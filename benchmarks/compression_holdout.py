"""The coded SqueezeNet on photos that it was not compressed on, at several sizes.

    python benchmarks/compression_holdout.py PHOTOS.zip [--split even] [--target-bytes 0,350000] [--table FILE.csv]

PHOTOS: a folder or zip with folders named by WordNet id. Compressed on every second photo and measured on the others,
the even and the odd ones in turn; 0 bytes stands for the default, which goes by divergence. With --table, each row is
written as soon as it is measured, and what is in the table is not done again.

One of so few photos is most of a point, so the others are also judged in ten crops each (corners and centre, mirrored
or not), a crop being right or wrong by itself.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from judging import judged, read, write

from kerascnn.statistics import with_interval

FIELDS = (
    "compressed_on",
    "target_bytes",
    "bytes",
    "divergence",
    "agreement",
    "top1",
    "top1_float",
    "top5",
    "top5_float",
    "top1_crops",
    "top1_crops_float",
)


def main(options: argparse.Namespace) -> None:
    import kerascnn
    from export.checking.runtimes import open_keras
    from export.compression import compress, measure, state
    from export.images import find_images, labels_from_folders, load_images
    from kerascnn.data import imagenet_classes
    from kerascnn.photos.crops import ten_crops
    from kerascnn.photos.preprocessing import find_preprocessing

    model = kerascnn.applications.squeezenet(weights="imagenet")
    weights = model.get_weights()
    source = find_images(options.photos)
    images = load_images(source, source.names, find_preprocessing(model)).images
    known = find_preprocessing(model)
    whole = load_images(source, source.names, replace(known, crop=None)).images
    wnids = [wnid for wnid, _ in imagenet_classes()]
    labels = np.array(labels_from_folders(source.names, None, wnids, 1000))
    done = read(options.table)
    for split in options.split:
        start = ("even", "odd").index(split)
        photos, others, wanted = images[start::2], images[1 - start :: 2], labels[1 - start :: 2]
        crops = np.concatenate([ten_crops(image, images.shape[1]) for image in whole[1 - start :: 2]])
        before = sensitivities = None
        for target in options.target_bytes:
            if any(row["compressed_on"] == split and row["target_bytes"] == str(target) for row in done):
                continue
            model.set_weights(weights)
            if before is None:
                before = open_keras(model).predict_with_logits(others)
                known_scores = judged(before, before, wanted)
                crops_before = right(open_keras(model).predict(crops), wanted)
                sensitivities = measure(model, photos)
            compress(model, photos, target_bytes=target or None, sensitivities=sensitivities)
            after = open_keras(model).predict_with_logits(others)
            sizes = {"compressed_on": split, "target_bytes": target, "bytes": state(model).bytes}
            crops_after = right(open_keras(model).predict(crops), wanted)
            row = {
                **sizes,
                **judged(after, before, wanted),
                "top1_float": known_scores["top1"],
                "top5_float": known_scores["top5"],
                "top1_crops": crops_after,
                "top1_crops_float": crops_before,
            }
            done.append({name: str(value) for name, value in row.items()})
            print(done[-1], flush=True)
            write(options.table, FIELDS, done)
    print("| compressed on | target | bytes | divergence, nats | same best class | top-1 % (float) | ten crops |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in done:
        target = f"{int(row['target_bytes']):,}" if row["target_bytes"] != "0" else "default"
        agreement, top1, top1_float, crops, crops_float = (
            100 * float(row[name]) for name in ("agreement", "top1", "top1_float", "top1_crops", "top1_crops_float")
        )
        print(
            f"| {row['compressed_on']} | {target} | {int(row['bytes']):,} | {float(row['divergence']):.4f} | "
            f"{agreement:.1f} % | {top1:.1f} ({top1_float:.1f}) | {crops:.1f} ({crops_float:.1f}) |"
        )
    # Crops of one photo go together: they are no more trials than the photos are.
    shares = [float(row[name]) for row in done for name in ("top1", "top1_crops")]
    photos = len(source.names) // 2
    print(f"With {photos} photos, 95 %: {' … '.join(with_interval(end, photos) for end in (min(shares), max(shares)))}")


def right(answers: np.ndarray, labels: np.ndarray) -> float:
    """The share of crops, ten for each label in turn, whose best class is the label."""
    return round(float((answers.reshape(len(labels), 10, -1).argmax(axis=2) == labels[:, None]).mean()), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--split", type=lambda text: text.split(","), default=["even", "odd"])
    parser.add_argument(
        "--target-bytes", type=lambda text: [int(part) for part in text.split(",")], default=[0, 440_000, 350_000]
    )
    parser.add_argument("--table", type=Path)
    main(parser.parse_args())
