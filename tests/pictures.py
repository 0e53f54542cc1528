"""Photos to export and to score with: noise, or noise of a color, in folders named after their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write(
    folder: Path,
    classes: Iterable[object],
    each: int,
    draw: Callable[[np.random.Generator, int], np.ndarray],
    suffix: str = ".png",
) -> Path:
    """Write photos 0, 1, … of each class; `draw` gets the number of the class, and returns pixels from 0 to 255."""
    random = np.random.default_rng(0)
    for number, name in enumerate(map(str, classes)):
        (folder / name).mkdir()
        for i in range(each):
            Image.fromarray(draw(random, number).astype(np.uint8)).save(folder / name / f"{i}{suffix}")
    return folder


def colored(random: np.random.Generator, number: int) -> np.ndarray:
    """Draw noise that is mostly red, green or blue: 0, 1 or 2."""
    pixels = random.integers(0, 120, (40, 50, 3))
    pixels[..., number] += 120
    return pixels
