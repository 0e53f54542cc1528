"""Draw how the weights that come with the package were trained, from the histories in their manifests.

    python benchmarks/training_curves.py docs/images/training.svg

Needs the extra `plots`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kerascnn
from kerascnn.analysis import plots


def draw(target: Path) -> None:
    """A panel for each network: error by epoch, on the augmented training images and on the test images."""
    manifests = sorted((Path(kerascnn.__file__).parent / "data/weights").glob("*.json"))
    figure = plots.figure(4 * len(manifests), 3.6)
    for axes, path in zip(figure.subplots(1, len(manifests)), manifests, strict=True):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        before = manifest.get("before", {"history": []})["history"]  # of the run whose weights it began with
        history = before + manifest["history"]
        for key, label in (("accuracy", "training, augmented"), ("val_accuracy", "test")):
            axes.plot(range(1, len(history) + 1), [100 * (1 - row[key]) for row in history], label=label)
        if before:
            axes.axvline(len(before) + 0.5, color="gray", linestyle=":", label="second run")
        axes.set(title=manifest["model"], xlabel="epoch", ylabel="error, %", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize="x-small")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    plots.save(figure, target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]))
