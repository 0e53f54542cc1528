"""What a mixture of precisions has to reach."""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import RequestError

LEAST_HELD_BACK = 30  # photos


@dataclass(frozen=True)
class Goal:
    """What a mixture of precisions has to reach, see `export.quantization.searching`.

    Attributes:
        max_drop: How many points of top-1 accuracy it may lose on photos held back; None: any number, within
            `target_bytes`.
        target_bytes: How many bytes its file may have; None: as few as are expected to keep to `max_drop`.
    """

    max_drop: float | None = 1.0
    target_bytes: int | None = None


def check_goal(goal: Goal | None, asked: bool, held_back: int | None, compresses: bool) -> None:
    """Refuse a goal that cannot be.

    Args:
        goal: What was said of it; None: nothing.
        asked: Whether the precision `auto` is asked for.
        held_back: How many labeled photos precisions are not chosen with; None: there are no labeled photos.
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
        if goal.target_bytes is None:
            raise RequestError("auto has nothing to reach. Give max_drop or target_bytes.")
        return
    if not 0 < goal.max_drop <= 100:
        raise RequestError(f"--max-drop is in points of top-1, more than 0 and at most 100; it is {goal.max_drop:g}.")
    if held_back is None:
        raise RequestError(
            "What auto loses is measured on labeled photos. Add --evaluate DIR or .zip (from Python: evaluate=), or "
            "ask for --target-bytes instead."
        )
    check_held_back(held_back)


def check_held_back(photos: int) -> None:
    """Refuse to prove what is lost on too few photos.

    Raises:
        RequestError: There are fewer than LEAST_HELD_BACK.
    """
    if photos < LEAST_HELD_BACK:
        raise RequestError(
            f"{photos} photos of --evaluate are not used to choose precisions, and {LEAST_HELD_BACK} are needed to "
            "prove what auto loses. Give more, or others than those of --calibration-data, or ask for --target-bytes "
            "instead."
        )
