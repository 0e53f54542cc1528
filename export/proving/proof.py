"""What is said of an artifact in one runtime."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Place(NamedTuple):
    """A runtime: its name on the command line and in the manifest, its name in prose, and the PyPI package it is in."""

    name: str
    title: str
    package: str

    @property
    def version(self) -> str:
        """The version of its package; empty where it is not installed."""
        for name in (self.package, f"{self.package}-cpu"):  # TensorFlow's smaller wheel has another name
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""


@dataclass(frozen=True)
class Proof:
    """What became of an artifact in a runtime.

    Attributes:
        runtime: The name of the runtime.
        version: Of the runtime's package; empty where it is not installed.
        status: "proven"; "wrong" where its answers are, which removes the artifact; or "not run".
        images: How many images it answered.
        sqnr_db: Signal to quantization noise of the logits; None where it was not measured.
        relative_error: max|difference| / max|reference|, on the logits; None where it was not measured.
        median_ms: Milliseconds to answer one image; None where it was not timed.
        reason: Why it is wrong or was not run, in a sentence.
        details: What only this runtime says.
    """

    runtime: str
    version: str
    status: Literal["proven", "wrong", "not run"]
    images: int = 0
    sqnr_db: float | None = None
    relative_error: float | None = None
    median_ms: float | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
