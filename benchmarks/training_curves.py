"""Draw how the weights that come with the package were trained, from the histories in their manifests.

    python benchmarks/training_curves.py docs/images/training.svg

Needs the extra `plots`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import kerascnn
from kerascnn.analysis import plots


def draw(target: Path) -> None:
    """A panel for each network: error by epoch, on the augmented training images and on those held back.

    A network that was trained on was first watched on the test images. After that it was watched on a tenth of the
    training images, on which its first runs had been trained, so that this error is too low; the test images were read
    once, in the end.
    """
    manifests = sorted((Path(kerascnn.__file__).parent / "data/weights").glob("*.json"))
    figure = plots.figure(4 * len(manifests), 4.1)
    for axes, path in zip(figure.subplots(1, len(manifests)), manifests, strict=True):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        runs = [manifest]
        while "before" in runs[0]:  # the run whose weights it began with
            runs.insert(0, runs[0]["before"])
        history = [row for run in runs for row in run["history"]]
        epochs, kept = range(1, len(history) + 1), len(history)
        if "test" in manifest:
            kept -= len(manifest["history"])
        training, held_back = ([100 * (1 - row[key]) for row in history] for key in ("accuracy", "val_accuracy"))
        axes.plot(epochs, training, label="training images, augmented")
        axes.plot(epochs[:kept], held_back[:kept], label="test images")
        axes.plot(epochs[kept:], held_back[kept:], label="images held back, of which earlier runs had learned")
        if "test" in manifest:
            error = 100 * (1 - manifest["test"]["accuracy"])
            axes.plot(len(history), error, "*", color="black", label="test images, once in the end")
        for end in np.cumsum([len(run["history"]) for run in runs])[:-1]:
            axes.axvline(end + 0.5, color="gray", linestyle=":", label="the next run begins")
        axes.set(title=manifest["model"], xlabel="epoch", ylabel="error, %", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize="x-small")
        axes.grid(alpha=0.3, which="both")
    labels = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=3)
    plots.save(figure, target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]))
