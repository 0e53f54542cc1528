"""Intervals, paired tests and calibration, beside values of SciPy and counts by hand."""

import numpy as np
import pytest

from kerascnn.statistics import calibration, compare, hits, log_probabilities, paired, ranks, sign_test, wilson


@pytest.mark.parametrize(
    ("share", "count", "ends"),
    # scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    [(0.5, 100, (0.403832, 0.596168)), (0.9, 50, (0.786397, 0.956524)), (0.0, 20, (0.0, 0.161125))],
)
def test_wilson(share, count, ends):
    assert wilson(share, count) == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "p"),
    # scipy.stats.binomtest(one, one + other).pvalue
    [
        (0, 0, 1.0),
        (4, 4, 1.0),
        (2, 7, 0.1796875),
        (19, 26, 0.3712980345),
        (0, 10, 0.001953125),
        (400, 500, 0.000956444),
    ],
)
def test_mcnemar_is_an_exact_binomial_test(one, other, p):
    assert sign_test(one, other) == sign_test(other, one) == pytest.approx(p, rel=1e-6)


def test_a_large_set_is_no_harder():
    assert sign_test(24_000, 26_000) == pytest.approx(3.857469951e-19, rel=1e-6)


def test_paired_differences_are_of_the_second_to_the_first():
    first, second = np.zeros(100), np.zeros(100)
    first[:12], second[4:10] = 1, 1
    found = paired(first, second)
    assert (found.difference, found.better, found.worse) == (-0.06, 0, 6)
    assert found.p == pytest.approx(2 / 2**6)
    # Half a photo more in each cell: -6 of 102, and a variance of (7 - 36 / 102) / 102^2.
    assert (found.low + found.high) / 2 == pytest.approx(-6 / 102)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * (7 - 36 / 102) ** 0.5 / 102)


def test_equal_answers_leave_an_interval_around_zero():
    same = paired(np.ones(50), np.ones(50))
    assert same.difference == 0
    assert same.p == 1
    assert same.low == -same.high < 0


def test_ties_count_in_part_and_nan_never():
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.2], [0.1, 0.9, 0.0], [np.nan, 0.1, 0.2]])
    above, tied = ranks(scores, np.array([0, 2, 0, 0]))
    assert hits(above, tied, 1) == pytest.approx([1 / 2, 1 / 3, 0, 0])
    assert hits(above, tied, 2) == pytest.approx([1, 2 / 3, 1, 0])


def test_calibration():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.4, 1.0])
    error, bins = calibration(confidence, np.array([1, 1, 1, 0, 0, 1]))
    assert [(round(row.high * 15), row.photos) for row in bins] == [(6, 1), (15, 5)]
    assert error == pytest.approx((1 * 0.4 + 5 * abs(0.96 - 0.8)) / 6)
    assert calibration(np.array([]), np.array([])) == (0, [])


def test_answers_are_compared_as_probabilities():
    logits = np.array([[[[0.0, np.log(3)]]], [[[800.0, 0.0]]]], np.float32)
    before, after = log_probabilities(logits), np.log([[0.5, 0.5], [1.0, 1e-30]])
    assert np.exp(before) == pytest.approx(np.array([[0.25, 0.75], [1, 0]]))
    divergence = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert compare(before, after) == pytest.approx((divergence / 2, 0.5))
