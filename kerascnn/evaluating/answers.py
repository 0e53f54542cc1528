"""The answers of one model to labeled photos, in a file that a run which was stopped goes on with.

A file of JSON lines. The first says what the model and the photos are: answers of another model, to other photos or by
another preparation are never mixed. Each other line is one photo: its name, the checksum of its file, its class, the
five most probable classes with their probabilities, how many classes have a higher score than its own, and how many the
same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn import statistics
from kerascnn.evaluating.photos import LabeledPhotos

TOP = 5
_CHANGES = {  # what other answers are of, by the key of the first line that says it
    "model_sha256": "another model (or one that has changed)",
    "photos_sha256": "other photos (or other classes of them)",
    "preprocessing": "photos that were prepared in another way",
}


class Answers:
    """What is known of each photo so far, in the order of the photos.

    Args:
        path: The file, which may exist.
        about: What its first line says.
        photos: The photos.

    Attributes:
        errors: Why photos could not be read, by their names.
        confidence: The probability of the best class of each photo.

    Raises:
        ValueError: The file says something else of itself, or is damaged.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], photos: LabeledPhotos):
        self.path, self.photos = path, photos
        self.errors: dict[str, str] = {}
        count = len(photos.names)
        self._known = np.zeros(count, bool)
        self._checksums = np.zeros(count, np.uint32)
        self._above, self._tied = np.zeros(count, np.int32), np.full(count, -1, np.int32)
        self.confidence = np.zeros(count)
        content = path.read_bytes() if path.exists() else b""
        if content:
            self._load(content, about)
        else:
            path.write_text(json.dumps(about) + "\n", encoding="utf-8")

    def _load(self, content: bytes, about: Mapping[str, Any]) -> None:
        whole = content.rfind(b"\n") + 1  # a run that was killed may have left a part of a line
        first, *lines = content[:whole].splitlines() or [b""]
        try:
            found = json.loads(first)
            different = [what for key, what in _CHANGES.items() if found.get(key) != about[key]]
            for row in map(json.loads, () if different else lines):
                if row["crc32"]:  # what could not even be opened is asked for again
                    self._note(row)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{self.path} is damaged ({error}). Delete it, and its photos are answered anew; or give another "
                "--output."
            ) from error
        if different:
            raise ValueError(
                f"{self.path} holds answers of {' and '.join(different)}. Give another --output, or delete the file, "
                "and all photos are answered anew."
            )
        if whole < len(content):
            os.truncate(self.path, whole)

    def _note(self, row: Mapping[str, Any]) -> None:
        place = self.photos.places[row["photo"]]
        self._known[place], self._checksums[place] = True, row["crc32"]
        if "error" in row:
            self.errors[row["photo"]] = row["error"]
            return
        self._above[place], self._tied[place] = row["above"], row["tied"]
        self.confidence[place] = np.nan if row["probabilities"][0] is None else row["probabilities"][0]

    def lacks(self, name: str) -> bool:
        """Tell whether a photo was not asked for yet."""
        return not self._known[self.photos.places[name]]

    def checksums(self) -> Iterable[tuple[str, int]]:
        """List the names and checksums of the photos that were asked for."""
        return ((self.photos.names[i], int(self._checksums[i])) for i in np.flatnonzero(self._known))

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows to the file, all at once."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        for row in rows:
            self._note(row)

    @property
    def answered(self) -> np.ndarray:
        """Of each photo whether it was read and answered."""
        return self._tied >= 0

    def hits(self, best: int) -> np.ndarray:
        """Tell of each photo whether its class is among the `best` ones; see `kerascnn.statistics.hits`."""
        return statistics.hits(self._above, self._tied, best)


def rows_of(names: Sequence[tuple[str, int]], labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Make the lines of photos that were answered.

    Args:
        names: The photos' names and checksums.
        labels: Their classes, [n].
        probabilities: The answers to them, [n, classes].

    Returns:
        A row for each, for `Answers.add`.
    """
    above, tied = statistics.ranks(probabilities, labels)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    best = np.take_along_axis(probabilities, order, axis=1)
    return [
        {
            "photo": name,
            "crc32": checksum,
            "label": int(labels[i]),
            "classes": order[i].tolist(),
            "probabilities": [round(float(value), 7) if np.isfinite(value) else None for value in best[i]],
            "above": int(above[i]),
            "tied": int(tied[i]),
        }
        for i, (name, checksum) in enumerate(names)
    ]
