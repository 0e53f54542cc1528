"""From the name or path of weights to the record of what they are: once for a model that is built with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from kerascnn import registry
from kerascnn.registry import WeightsRecord
from kerascnn.weights import hub, sources
from kerascnn.weights.container import SUFFIX, Container, open_file
from kerascnn.weights.errors import WeightsError
from kerascnn.weights.reading import SUFFIXES


@dataclass(frozen=True)
class Resolved:
    """Weights that were found.

    Attributes:
        path: The file; published weights may have to be fetched there first.
        record: The record of published weights, or of a .kdc file; None for other files.
        named: Given by name, not as a path.
        container: A .kdc file that was given as a path, opened.
        address: Where on the Hugging Face hub the file was fetched from; "" for others.
    """

    path: Path
    record: WeightsRecord | None = None
    named: bool = False
    container: Container | None = field(default=None, repr=False)
    address: str = ""

    def opened(self) -> Container | None:
        """Read a .kdc file, once, and check one that was named; None for other files.

        Raises:
            WeightsUnavailable: It is not in the cache and could not be fetched.
            WeightsError: It is damaged, or is not the published one.
        """
        if self.container is not None or self.path.suffix != SUFFIX:
            return self.container
        assert self.record is not None
        path = sources.fetch(self.record, verify=False)
        read = open_file(path)
        sources.check(path, self.record, read.sha256)
        return read

    def fetched(self) -> Path:
        """Return the path of the verified file.

        Raises:
            WeightsUnavailable: It is not in the cache and could not be fetched.
            WeightsError: The file in the cache is not the published one.
        """
        return sources.fetch(self.record) if self.named and self.record else self.path


def find(variant: str, weights: str | os.PathLike[str]) -> WeightsRecord | None:
    """Return the record of what a name or a path stands for; None for a file of one's own that is not a .kdc.

    Raises:
        ValueError: As for `resolve`.
        FileNotFoundError: As for `resolve`.
        WeightsError: As for `resolve`.
    """
    return resolve(variant, weights).record


def resolve(variant: str, weights: str | os.PathLike[str]) -> Resolved:
    """Find the weights that a name or a path stands for. Nothing is fetched but a file on the Hugging Face hub.

    Args:
        variant: The name of the network that they are for.
        weights: The name of published weights, the path of a file, or an address hf://OWNER/NAME/FILE@REVISION.

    Raises:
        ValueError: The variant has no weights of that name.
        FileNotFoundError: The path does not exist.
        WeightsError: The file is of a kind that cannot be read, or is a damaged copy of published weights.
        WeightsUnavailable: The hub does not give the file.
    """
    records = registry.variant(variant).weights
    if not isinstance(weights, str | os.PathLike):
        raise ValueError(
            f"weights is None, the name of weights of {variant}, or the path of a file; it is {weights!r}."
        )
    for record in records:
        if weights == record.name or weights in record.aliases:
            return Resolved(sources.location(record), record, named=True)
    if isinstance(weights, str) and hub.is_address(weights):
        return replace(resolve(variant, hub.fetch(weights)), address=weights)
    names = ", ".join(repr(record.name) for record in records) or "none"
    path = Path(weights)
    if not (path.suffix or os.sep in str(weights) or path.exists()):
        raise ValueError(
            f"{variant} has no weights named {str(weights)!r}. Published weights of {variant}: {names}. "
            "The path of a file, or None for random weights, is taken too."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}. Published weights of {variant}: {names}.")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} is of a kind that cannot be read; weights files end in {', '.join(SUFFIXES)}.")
    if path.suffix == SUFFIX:
        container = open_file(path)
        if container.header.variant != variant:
            other = container.header.variant
            raise WeightsError(f"{path} holds {other}, not {variant}. Build {other} with it.")
        return Resolved(path, container.record(), container=container)
    return Resolved(path, _published(path, records, f"{variant}. Published weights: {names}"))


def _published(path: Path, records: tuple[WeightsRecord, ...], known: str) -> WeightsRecord | None:
    """Recognize a copy of published weights by its checksum, and refuse a damaged one."""
    alike = [record for record in records if record.file.endswith(path.suffix)]
    for record in alike:
        if sources.matches(path, record):
            return record
    for record in alike:
        # A file of that name is meant to be the published one. A .net has no checksum of its own: a single altered
        # byte would load as a slightly wrong network.
        if path.name == record.file or path.suffix == ".net":
            sources.check(path, record)
    if path.suffix == ".net":
        raise WeightsError(f"{path} is not a published weights file of {known}.")
    return None
