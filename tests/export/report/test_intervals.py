"""Intervals of accuracies, and when ties are explained."""

import pytest

from export.report.intervals import has_ties, interval, notes, wilson


@pytest.mark.parametrize(
    ("share", "count", "ends"),
    # scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    [(0.5, 100, (0.403832, 0.596168)), (0.9, 50, (0.786397, 0.956524)), (0.0, 20, (0.0, 0.161125))],
)
def test_wilson(share, count, ends):
    assert wilson(share, count) == pytest.approx(ends, abs=1e-6)


def test_ties_are_explained_where_there_are_any():
    whole = {"top1": 0.75, "top5": 1.0, "images": 12}
    assert interval(whole) == "46.8 to 91.1 %"
    assert not has_ties(whole)
    assert has_ties({**whole, "top1": 9.5 / 12})
    assert len(notes(whole, [])) == 1
    assert "TFLite int8 gives several classes the same score" in notes(whole, ["TFLite int8"])[1]
