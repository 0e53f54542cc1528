"""Pictures say what they show: families by color in every panel, ticks alike, curves that no value flattens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerascnn.analysis import compare, plots
from kerascnn.training import results


def test_a_family_has_one_color_in_every_panel_and_lines_end_at_circles() -> None:
    rows = compare(["vgg16", "resnet18", "resnet50", "resnet20_cifar", "resnet56_cifar", "densenet100_k12_cifar"])
    drawn = plots.plot_comparison(rows)
    colors: dict[str, set[tuple[float, ...]]] = {}
    for axes in drawn.axes:
        assert len({text.get_text() for text in axes.get_xticklabels()}) > 3
        assert all(text.get_text().replace(".", "").isdecimal() for text in axes.get_xticklabels())
        legend = axes.get_legend()
        assert legend.get_title().get_text() == "family"
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            family = text.get_text().removesuffix("_cifar")
            colors.setdefault(family, set()).add(tuple(np.ravel(handle.get_facecolor())))
        circles = axes.collections[0]
        middles = axes.transData.transform(circles.get_offsets())
        radii = np.sqrt(circles.get_sizes()) / 2 * drawn.dpi / 72
        for line in axes.lines:
            ends = axes.transData.transform(line.get_xydata())
            assert (np.linalg.norm(ends[:, None] - middles, axis=-1) >= radii - 0.5).all()
    assert {family: len(found) for family, found in colors.items()} == {"vgg": 1, "resnet": 1, "densenet": 1}
    assert len({next(iter(found)) for found in colors.values()}) == 3


def test_one_bad_loss_does_not_flatten_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(plots, "save", lambda figure, path: seen.append(figure))
    losses = (2.3, 960.0, 1.1, 0.9, 0.8)
    rows = [
        {"epoch": i, "loss": 1.0 / (i + 1), "val_loss": loss, "accuracy": 0.5, "val_accuracy": 0.25}
        for i, loss in enumerate(losses)
    ]
    results.plot(rows, tmp_path / "history.png", "mine")
    loss, accuracy = seen[0].axes
    assert loss.get_ylim()[1] < 3
    assert loss.get_title() == "1 beyond the axis, up to 960 (validation, epoch 2)"
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[50.0] * 5, [25.0] * 5]
    assert accuracy.get_ylabel() == "accuracy, %"
    assert all(float(tick).is_integer() for tick in loss.get_xticks())
    results.plot(rows[:1], tmp_path / "history.png", "mine")
    assert seen[1].axes[0].lines[0].get_marker() == "o"
