"""What a page and an app need: a network that classifies photos, and how these are prepared for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from export.errors import RequestError

if TYPE_CHECKING:
    from export.job import Job
    from kerascnn.photos.preprocessing import Preprocessing


def check_suits(job: Job, option: str, made: str) -> None:
    """Refuse a page or an app for a network that does not answer photos.

    Args:
        job: What is exported.
        option: What was asked for, such as "--web".
        made: What it makes, such as "a page".

    Raises:
        RequestError: The network takes something else, or how photos are prepared for it is not known.
    """
    model = job.loaded.model
    photo = len(model.inputs) == len(model.outputs) == 1 and len(model.inputs[0].shape) == 4
    if not photo or model.inputs[0].shape[-1] not in (1, 3) or len(model.outputs[0].shape) != 2:
        raise RequestError(
            f"{option} makes {made} that classifies photos, and {job.name} is not for that: it would have to take one "
            f"image of 1 or 3 channels and to give one score a class. Leave {option} out."
        )
    if job.reading is None:
        raise RequestError(
            f"How photos are prepared for {job.name} is not known, so {made} could not do it. Name it with "
            "--preprocessing (from Python: preprocessing=)."
        )


def reading(job: Job) -> Preprocessing:
    """Return how a photo of any size becomes the artifacts' input, for a job that `check_suits` has passed."""
    known = job.reading
    assert known is not None
    if known.resize is None and known.crop is None:
        return replace(known, resize=tuple(job.loaded.model.inputs[0].shape[1:3]))
    return known
