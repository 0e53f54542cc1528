"""Draw the artifacts of one export, size and accuracy side by side, from its manifest.

    python benchmarks/artifacts_figure.py artifacts/squeezenet/manifest.json docs/images/squeezenet.svg

Needs the extra `plots`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

_LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides the line of the Keras model behind it
COLORS = {
    "float32": "#4c72b0",
    "float16": "#55a868",
    "bfloat16": "#64b5cd",
    "dynamic": "#dd8452",
    "int8": "#c44e52",
    "int8-io": "#8172b3",
    "int16x8": "#937860",
}


def draw(manifest: dict, target: Path) -> None:
    """One row an artifact: a bar for its size, a dot for its top-1 accuracy, the Keras model's as a line."""
    artifacts = manifest["artifacts"][::-1]
    names = [
        f"SavedModel {a['precision']}" if a["format"] == "saved_model" else Path(a["path"]).name for a in artifacts
    ]
    keras = 100 * manifest["evaluation"]["keras"]["top1"]
    plt.rcParams.update({"font.size": 10, "svg.hashsalt": "kerascnn", "font.family": "DejaVu Sans"})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.5 * len(artifacts) + 1.2), sharey=True, width_ratios=(3, 2)
    )
    sizes = [a["bytes"] / 1e6 for a in artifacts]
    bars = left.barh(names, sizes, color=[COLORS[a["precision"]] for a in artifacts], height=0.6)
    labels = [f"{size:.2f} MB, {a['latency']['median_ms']:.1f} ms" for size, a in zip(sizes, artifacts, strict=True)]
    left.bar_label(bars, labels, padding=4)
    left.set_xlim(0, max(sizes) * 1.45)
    left.set_xlabel("size in MB, latency on this CPU")
    accuracies = [100 * a["accuracy"]["top1"] for a in artifacts]
    right.axvline(keras, color="#888888", linestyle="--", linewidth=1)
    right.annotate(f"Keras model {keras:.1f} %", (keras, len(artifacts) - 0.45), ha="center", color="#555555")
    right.scatter(accuracies, names, color=[COLORS[a["precision"]] for a in artifacts], s=60, zorder=3)
    for name, accuracy in zip(names, accuracies, strict=True):
        right.annotate(f"{accuracy:.1f} %", (accuracy, name), xytext=(8, -4), textcoords="offset points", bbox=_LABEL)
    right.set_xlim(keras - 3, keras + 3)
    right.set_xlabel(f"top-1 on {manifest['evaluation']['keras']['images']} photos, %")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    right.set_ylim(-0.6, len(artifacts) - 0.1)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
