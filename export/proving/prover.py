"""What a prover is: an object that runs artifacts in a further runtime, and says whether they are right there."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.proving.proof import Place, Proof

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from export.checking.runtimes import Prediction
    from export.formats.precision import Precision
    from export.manifest import Artifact


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an artifact is judged by.

    Attributes:
        images: float32 [n, height, width, channels], as the artifact takes them.
        reference: The Keras model's answer to them.
        own: What the artifact answered in the runtime in which it was verified.
        precision: Decides how close the artifact has to be to the reference.
        real_images: Whether they are photos.
    """

    images: np.ndarray
    reference: Prediction
    own: np.ndarray
    precision: Precision
    real_images: bool = False


class Prover(ABC):
    """A runtime that artifacts are proven in. Its module imports nothing heavy: every request looks at all provers.

    Attributes:
        name: On the command line and in the manifest.
        title: The name in prose.
        package: What it needs from PyPI.
        extra: The extra of kerascnn that installs it.
        formats: The names of the formats that it takes.
    """

    name: str
    title: str
    package: str
    extra: str
    formats: tuple[str, ...]

    @property
    def version(self) -> str:
        """The version of its package; empty where it is not installed."""
        return Place(self.name, self.title, self.package).version

    def missing(self) -> str | None:
        """Say what is not installed, and how to install it; None where nothing is missing."""
        if importlib.util.find_spec(self.package.replace("-", "_")) is not None:
            return None
        return f"{self.package} is not installed: pip install 'kerascnn[{self.extra}]'."

    def declines(self, artifact: Artifact) -> str | None:
        """Say why the runtime does not take an artifact of one of its formats; None where it does."""
        return None

    @abstractmethod
    def prove(self, path: Path, artifact: Artifact, evidence: Evidence) -> Proof:
        """Run an artifact, at least twice, and judge its answers.

        Args:
            path: The artifact.
            artifact: What is known of it.
            evidence: What it is judged by.

        Returns:
            "wrong" where it answers wrongly, "not run" where the runtime does not load it. An exception counts as "not
            run".
        """

    def words(self, details: Mapping[str, Any]) -> str:
        """Say the most important detail of a proof in a few words, for tables; empty where there is none."""
        return ""

    def not_run(self, reason: str) -> Proof:
        """Say why an artifact was not run."""
        return Proof(self.name, self.version, "not run", reason=reason)
