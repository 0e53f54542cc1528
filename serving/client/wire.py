"""What REST and gRPC have in common, seen from the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Target:
    """The model to ask, its version (by default the newest), and the signature ("" is the default one)."""

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = ""


@dataclass(frozen=True)
class Connection:
    """How a server is reached: see the arguments of `Client`."""

    url: str
    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None


@dataclass(frozen=True)
class VersionStatus:
    """A version of a model: its state (AVAILABLE is the one that serves), and the reason if it failed."""

    version: int
    state: str
    message: str


def as_objects(elements: Sequence[bytes]) -> np.ndarray:
    """Return an array of bytes, whatever their lengths."""
    array = np.empty(len(elements), object)
    array[:] = list(elements)
    return array


class Wire(Protocol):
    """One way to reach a server. Each method raises a ClientError that says what failed."""

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs of a signature; all of them if `outputs` is empty."""

    def classify(self, target: Target, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the best classes of photos, JPEG or PNG files, as arrays with a row for each.

        They are `top_ids`, `top_scores`, and `top_labels` where the model has names for its classes.
        """

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model."""

    def close(self) -> None:
        """Close the connections."""
