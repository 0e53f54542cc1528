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
    figure = plots.figure(4 * len(manifests), 3.6)
    for axes, path in zip(figure.subplots(1, len(manifests)), manifests, strict=True):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        runs = [manifest]
        while "before" in runs[0]:  # the run whose weights it began with
            runs.insert(0, runs[0]["before"])
        history = [row for run in runs for row in run["history"]]
        axes.plot(
            range(1, len(history) + 1), [100 * (1 - row["accuracy"]) for row in history], label="training, augmented"
        )
        last = len(manifest["history"]) if "test" in manifest else 0
        errors = [100 * (1 - row["val_accuracy"]) for row in history]
        axes.plot(range(1, len(history) - last + 1), errors[: len(history) - last], label="test")
        if last:
            axes.plot(range(len(history) - last + 1, len(history) + 1), errors[-last:], label="held back, known")
            axes.plot(
                len(history), 100 * (1 - manifest["test"]["accuracy"]), "*", color="black", label="test, in the end"
            )
        ends = np.cumsum([len(run["history"]) for run in runs])[:-1]
        for end in ends:
            axes.axvline(end + 0.5, color="gray", linestyle=":", label="next run" if end == ends[0] else None)
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
