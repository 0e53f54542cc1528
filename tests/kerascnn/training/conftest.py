"""Small sets of images that a network can learn: bars that stand or lie, at random places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def bars(count: int, classes: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side) images of `classes` kinds and their labels: bars of different angles."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    y, x = np.mgrid[:side, :side] - side / 2
    images = []
    for label in labels:
        angle = np.pi * label / classes
        distance = np.abs(np.cos(angle) * x + np.sin(angle) * y + random.uniform(-side / 4, side / 4))
        images.append(np.where(distance < 2, 255, 0) + random.integers(0, 40, (side, side)))
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like MNIST's, of 4 classes, 160 images to train on and 40 to test with."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    x, y = bars(200, 4, 28)
    np.savez(path, x_train=x[:160], y_train=y[:160], x_test=x[160:], y_test=y[160:])
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos, 20 each of two classes, 40x36 pixels."""
    folder = tmp_path / "photos"
    x, y = bars(40, 2, 40)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        path = folder / ("lying", "standing")[label] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:36]).convert("RGB").save(path)
    return folder
