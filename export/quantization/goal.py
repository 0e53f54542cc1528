"""What a mixture of precisions has to reach."""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import RequestError


@dataclass(frozen=True)
class Goal:
    """What a mixture of precisions has to reach, see `export.quantization.searching`.

    Attributes:
        max_drop: How many points of top-1 accuracy it may lose on photos held back; None: any number.
        target_bytes: How many bytes its file may have; None: as few as are expected to keep to `max_drop`.
    """

    max_drop: float | None = 1.0
    target_bytes: int | None = None


def check_goal(goal: Goal | None, asked: bool, has_labels: bool, compresses: bool) -> None:
    """Refuse a goal that cannot be.

    Args:
        goal: What was said of it; None: nothing.
        asked: Whether the precision `auto` is asked for.
        has_labels: Whether there are labeled photos.
        compresses: Whether the network is compressed first.

    Raises:
        RequestError: It cannot be, or there is nothing that it is for.
    """
    if not asked:
        if goal is not None:
            raise RequestError("--max-drop and --target-bytes say what --quantize auto has to reach. Ask for that too.")
        return
    goal = goal or Goal()
    if goal.target_bytes is not None and goal.target_bytes <= 0:
        raise RequestError(f"A file cannot have {goal.target_bytes} bytes.")
    if goal.target_bytes is not None and compresses:
        raise RequestError(
            "--target-bytes is for --compress or for --quantize auto, not for both. Ask for one of them."
        )
    if goal.max_drop is None:
        return
    if not 0 < goal.max_drop <= 100:
        raise RequestError(f"--max-drop is in points of top-1, more than 0 and at most 100; it is {goal.max_drop:g}.")
    if not has_labels:
        raise RequestError(
            "What auto loses is measured on labeled photos. Add --evaluate DIR or .zip (from Python: evaluate=), or "
            "ask for --target-bytes instead."
        )
