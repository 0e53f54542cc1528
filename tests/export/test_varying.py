"""Varied copies of photos."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from export.varying import with_varied  # noqa: E402

IMAGES = np.random.default_rng(0).uniform(size=(5, 8, 8, 3)).astype(np.float32).cumsum(axis=1)


def test_copies_follow_the_photos_and_differ_from_them_and_from_each_other() -> None:
    views = with_varied(IMAGES, 17)
    assert views.shape == (15, 8, 8, 3)
    np.testing.assert_array_equal(views[:5], IMAGES)
    one, first, second = np.split(views, 3)
    for a, b in ((one, first), (one, second), (first, second)):
        assert (np.abs(a - b).reshape(5, -1).max(axis=1) > 0.1).all()
        correlation = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
        assert min(correlation) > 0.5  # of the same photo
    np.testing.assert_array_equal(views, with_varied(IMAGES, 17))


def test_enough_photos_stay_as_they_are() -> None:
    assert with_varied(IMAGES, 9) is IMAGES
