"""What REST and gRPC have in common, seen from the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Target:
    """Which model, which of its versions (the newest with neither), and which signature ("" is the default one)."""

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = ""


class Wire(Protocol):
    """One way to reach a server. Every method raises a ClientError that says how it went wrong."""

    def predict(
        self, target: Target, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
    ) -> dict[str, np.ndarray]: ...

    def status(self, target: Target) -> list[dict[str, Any]]: ...

    def close(self) -> None: ...
