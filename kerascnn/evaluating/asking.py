"""Models are asked about photos, a bounded number at a time, and their answers are written down at once."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.evaluating.answers import Answers, rows_of
from kerascnn.evaluating.photos import LabeledPhotos
from kerascnn.evaluating.subjects import Subject
from kerascnn.files import alone_in
from kerascnn.photos.classifying import BATCH
from kerascnn.photos.files import PhotosError, reason, unreadable
from kerascnn.photos.gathering import gather
from kerascnn.photos.preparing import Preparation
from kerascnn.photos.reading import read_ahead

Step = Callable[[str, int, int], None]  # told what is done, how much of it, and how much there is


@dataclass(frozen=True)
class _Read:
    """A photo as each of the models takes it, or why it cannot be read."""

    name: str
    checksum: int
    inputs: dict[Preparation, np.ndarray | str]


def ask(subjects: Sequence[Subject], photos: LabeledPhotos, output: Path, step: Step) -> list[Answers]:
    """Ask models about the photos that they have not answered yet.

    Args:
        subjects: The models.
        photos: The photos.
        output: A folder for their answers, which may have some already.
        step: Told how many photos are done.

    Returns:
        The answers of each.

    Raises:
        ValueError: The folder holds answers of other models or to other photos, a photo has changed since it was
            answered, or another run is at work there.
    """
    output.mkdir(parents=True, exist_ok=True)
    with alone_in(output):
        known = [Answers(_file(output, subject), _about(subject, photos), photos) for subject in subjects]
        _check_unchanged(known, photos, step)
        left = [name for name in photos.names if any(answers.lacks(name) for answers in known)]
        done, total = len(photos.names) - len(left), len(photos.names)
        step("", done, total)
        asked = list(zip(subjects, known, strict=True))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # runtimes release the GIL while they compute
            for chunk in _chunks(subjects, photos, left):
                rows = pool.map(partial(_rows, chunk, photos), asked)
                for answers, new in zip(known, rows, strict=True):
                    answers.add(new)
                done += len(chunk)
                step("", done, total)
    return known


def outputs(subjects: Sequence[Subject], photos: Sequence[str], open_photo: Callable[[str], bytes]) -> int:
    """Ask models about the first photo that can be read, to know how many classes they tell apart.

    Args:
        subjects: The models.
        photos: The names of the photos.
        open_photo: Returns the bytes of a photo.

    Returns:
        The number of classes.

    Raises:
        ValueError: It is not the same number for all, a model's class names are not as many, or the models do not have
            the same names.
        PhotosError: No photo can be read.
    """
    preparations = {subject.classifier.preparation for subject in subjects}
    for name in photos:
        read = _read(name, open_photo, preparations)
        images = {key: value for key, value in read.inputs.items() if not isinstance(value, str)}
        if len(images) == len(preparations):
            break
    else:
        raise PhotosError(f"None of the {len(photos):,} photos can be read.")
    first, *others = subjects
    counts = [one.classifier.probabilities(images[one.classifier.preparation][None]).shape[1] for one in subjects]
    names = [tuple(one.classifier.names(count)) for one, count in zip(subjects, counts, strict=True)]
    for subject, count, own in zip(others, counts[1:], names[1:], strict=True):
        both = f"{first.name} and {subject.name}"
        if count != counts[0]:
            raise ValueError(
                f"{both} do not tell the same classes apart: {counts[0]:,} and {count:,}. Evaluate them one by one."
            )
        if own != names[0]:
            raise ValueError(
                f"{both} do not have the same class names. Evaluate them one by one, or give --labels if their classes "
                "are the same."
            )
    return counts[0]


def _file(output: Path, subject: Subject) -> Path:
    return output / f"{subject.name.strip('/').replace('/', '_')}.jsonl"


def _about(subject: Subject, photos: LabeledPhotos) -> dict[str, Any]:
    import kerascnn

    prepared = subject.classifier.preparation
    return {
        "model": subject.name,
        "model_sha256": subject.sha256,
        "photos": len(photos.names),
        "photos_sha256": photos.sha256,
        "preprocessing": {
            name: list(v) if isinstance(v, tuple) else v for name, v in asdict(prepared.preprocessing).items()
        },
        "kerascnn": kerascnn.__version__,
    }


def _check_unchanged(known: Sequence[Answers], photos: LabeledPhotos, step: Step) -> None:
    """Compare the files of photos that were answered before with what they were."""
    before: dict[str, set[int]] = {}
    for answers in known:
        for name, checksum in answers.checksums():
            before.setdefault(name, set()).add(checksum)

    def now(name: str) -> int:
        try:
            return photos.files.crc32(name)
        except unreadable():
            return 0

    for done, (name, found) in enumerate(zip(before, read_ahead(now, before, BATCH), strict=True), start=1):
        if before[name] != {found}:
            raise ValueError(
                f"{name} has changed since it was answered. Give another --output, or delete {known[0].path.parent}, "
                "and all photos are answered anew."
            )
        if not done % BATCH:
            step("(checking what was answered)", done, len(before))


def _chunks(subjects: Sequence[Subject], photos: LabeledPhotos, names: Sequence[str]) -> Iterator[list[_Read]]:
    preparations = {subject.classifier.preparation for subject in subjects}
    read = read_ahead(lambda name: _read(name, photos.files.open, preparations), names, 2 * BATCH)
    while chunk := list(islice(read, BATCH)):
        yield chunk


def _read(name: str, open_photo: Callable[[str], bytes], preparations: set[Preparation]) -> _Read:
    try:
        content = open_photo(name)
    except unreadable() as error:
        return _Read(name, 0, dict.fromkeys(preparations, reason(error)))
    photo = gather(content)[0]
    inputs: dict[Preparation, np.ndarray | str] = {}
    for preparation in preparations:
        try:
            inputs[preparation] = preparation.prepare(photo)
        except ValueError as error:
            inputs[preparation] = str(error)
    return _Read(name, zlib.crc32(content), inputs)


def _rows(chunk: Sequence[_Read], photos: LabeledPhotos, asked: tuple[Subject, Answers]) -> list[dict[str, Any]]:
    """Answer what a model has not answered yet."""
    subject, answers = asked
    rows: list[dict[str, Any]] = []
    batches: dict[tuple[int, ...], list[tuple[_Read, np.ndarray]]] = {}
    for read in chunk:
        image = read.inputs[subject.classifier.preparation]
        if not answers.lacks(read.name):
            continue
        if isinstance(image, str):
            label = photos.labels[photos.places[read.name]]
            rows.append({"photo": read.name, "crc32": read.checksum, "label": label, "error": image})
        else:
            batches.setdefault(image.shape, []).append((read, image))  # a network may take any size
    for batch in batches.values():
        labels = np.array([photos.labels[photos.places[read.name]] for read, _ in batch])
        probabilities = subject.classifier.probabilities(np.stack([image for _, image in batch]))
        rows += rows_of([(read.name, read.checksum) for read, _ in batch], labels, probabilities)
    return rows
