"""What is evaluated: models by name or path, and every artifact of an export."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerascnn.photos.classifying import Classifier
from kerascnn.photos.opening import MANIFEST, artifacts_in, check_name, open_classifier
from kerascnn.photos.preparing import Given
from kerascnn.registry import variants
from kerascnn.weights.sources import sha256


@dataclass(frozen=True)
class Named:
    """A model that was found, and not opened yet.

    Attributes:
        name: What tables call it.
        source: What opens it: the name of a variant or a path.
        files: The file that it is read from, or the folder; None where weights are still to be fetched.
    """

    name: str
    source: str
    files: Path | None


@dataclass(frozen=True)
class Subject:
    """A model that is evaluated.

    Attributes:
        name: What tables call it.
        classifier: What answers.
        bytes: The size of its file or folder, or of the weights of a variant.
        sha256: A digest of the same.
    """

    name: str
    classifier: Classifier
    bytes: int
    sha256: str


def find_subjects(models: Sequence[str], weights: str = "auto") -> list[Named]:
    """Find the models that names and paths stand for; nothing is opened.

    Args:
        models: Names of variants, and paths as `kerascnn.photos.opening.open_classifier` takes them; the folder of an
            export stands for all of its artifacts.
        weights: Of the variants: the name of published weights or a file; "auto" takes those at hand.

    Returns:
        Each of them once. Those that share a name are called by their paths.

    Raises:
        ValueError: There is no such model, or there are weights for none of them.
        FileNotFoundError: There are no such weights.
    """
    found = list(dict.fromkeys(one for model in models for one in _found(model, weights)))
    if weights != "auto" and all(one.files for one in found):
        raise ValueError(f"Weights are given for a network by its name; {', '.join(models)} brings its own.")
    names = [one.name for one in found]
    return [Named(one.source, one.source, one.files) if names.count(one.name) > 1 else one for one in found]


def _found(model: str, weights: str) -> Iterator[Named]:
    path = check_name(model, weights if model in variants() else "auto")
    if path is None:
        yield Named(model, model, None)
    elif (folder := Path(model)).is_dir() and (folder / MANIFEST).is_file():
        for artifact in artifacts_in(folder):
            yield Named(artifact.relative_to(folder).as_posix(), str(artifact), artifact)
    else:
        yield Named(model if path.is_dir() else path.name, str(path), path)


def open_subjects(
    found: Sequence[Named], weights: str = "auto", *, preprocessing: Given = None, labels: Sequence[str] | None = None
) -> list[Subject]:
    """Open models; see `kerascnn.photos.opening.open_classifier`. Together their runtimes take all cores."""
    cores = os.cpu_count() or 1
    threads = max(1, cores // len(found))
    subjects = []
    for one in found:
        given = weights if one.files is None else "auto"
        classifier = open_classifier(one.source, given, preprocessing=preprocessing, labels=labels, threads=threads)
        files = one.files or _weights(one.source, weights)
        subjects.append(Subject(one.name, classifier, sum(map(_size, _files(files))), _digest(files)))
    return subjects


def _weights(variant: str, weights: str) -> Path:
    """Return the file of a variant's weights, which is there by now."""
    from kerascnn.weights.resolving import resolve
    from kerascnn.weights.sources import preferred

    record = preferred(variant) if weights == "auto" else None
    return resolve(variant, record.name if record is not None else weights).fetched()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _size(file: Path) -> int:
    return file.stat().st_size


def _digest(path: Path) -> str:
    """Return the digest of a file or a folder, as an export's manifest has it."""
    if path.is_file():
        return sha256(path)
    parts = [f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
