"""What a mixture of precisions has to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What a mixture of precisions has to reach, see `export.quantization.searching`.

    Attributes:
        max_drop: How many points of top-1 accuracy it may lose on photos held back; None: any number.
        target_bytes: How many bytes its file may have; None: as few as are expected to keep to `max_drop`.
    """

    max_drop: float | None = 1.0
    target_bytes: int | None = None
