"""Golden files: what a reference answered to seeded weights and inputs, so that tests need no torch to ask again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "golden"
EVERY = 8  # of the 1,000 logits, one in so many is kept


def write(key: str, logits: np.ndarray, facts: dict[str, Any]) -> None:
    """Keep a reference's logits with what is needed to repeat them."""
    rows = [[float(f"{value:.7g}") for value in row[::EVERY]] for row in logits]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{key}.json").write_text(json.dumps({**facts, "logits": rows}) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A golden file, its logits as an array."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    return {**facts, "logits": np.asarray(facts["logits"], np.float32)}


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
