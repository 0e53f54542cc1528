"""What the stages of one export hand on to one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.adding import Earlier
from export.checking.runtimes import Runtime
from export.job import Job
from export.manifest import Artifact, Failure
from export.report.progress import Progress


@dataclass(frozen=True)
class Context:
    """One export under way.

    Attributes:
        job: What is exported.
        folder: Where artifacts are written before they are published.
        progress: Told of each stage.
        earlier: What it adds to; None where it starts anew.
    """

    job: Job
    folder: Path
    progress: Progress
    earlier: Earlier | None = None

    def step(self, text: str) -> None:
        """Tell of a stage."""
        self.progress.step(f"{self.job.name}: {text}")


@dataclass(frozen=True)
class Inputs:
    """Images as the artifacts take them.

    Attributes:
        calibration: To choose steps and ranges with; None where there are none.
        skipped: How many calibration photos could not be read.
        images: To compare artifacts on.
        kind: What these are.
        names: The names of evaluation photos.
    """

    calibration: np.ndarray | None
    skipped: int
    images: np.ndarray
    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passed:
    """An artifact that agrees with the Keras model.

    Attributes:
        artifact: What the manifest says of it.
        runtime: The loaded artifact.
        outputs: What it answered to the first images.
        details: What its format found out about it in its runtime, see `Format.details`.
    """

    artifact: Artifact
    runtime: Runtime
    outputs: np.ndarray
    details: Mapping[str, Any]


@dataclass
class Outcome:
    """What became of the artifacts: those that passed, those that did not, and optional ones that did not."""

    passed: list[Passed] = field(default_factory=list)
    rejected: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)
