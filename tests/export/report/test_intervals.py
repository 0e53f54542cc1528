"""Intervals of accuracies, and when ties are explained."""

from export.report.intervals import has_ties, interval, notes


def test_ties_are_explained_where_there_are_any():
    whole = {"top1": 0.75, "top5": 1.0, "images": 12}
    assert interval(whole) == "46.8 to 91.1 %"
    assert not has_ties(whole)
    assert has_ties({**whole, "top1": 9.5 / 12})
    assert len(notes(whole, [])) == 1
    assert "TFLite int8 gives several classes the same score" in notes(whole, ["TFLite int8"])[1]
