"""Accuracy on labeled photos with its evidence: intervals, differences on the same photos, calibration.

`python -m kerascnn evaluate` is the command; see docs/evaluating.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kerascnn.evaluating.asking import Step, ask, outputs
from kerascnn.evaluating.photos import LabeledPhotos, label_photos
from kerascnn.evaluating.results import Evaluation, summarize
from kerascnn.evaluating.subjects import Subject, find_subjects, open_subjects
from kerascnn.photos.files import PhotoFiles

__all__ = ["Evaluation", "LabeledPhotos", "Subject", "evaluate", "find_subjects", "open_subjects"]


def evaluate(
    subjects: Sequence[Subject],
    photos: PhotoFiles,
    output: Path,
    truth: Path | None = None,
    step: Step = lambda what, done, total: None,
) -> Evaluation:
    """Ask models about labeled photos, and summarize what they answer.

    What was answered before is read from the folder, and a call that was stopped is taken up again.

    Args:
        subjects: The models, see `open_subjects`; they are compared with the first.
        photos: The photos, see `kerascnn.photos.files.find_photos`.
        output: A folder for their answers.
        truth: A list of the classes of the photos, see `kerascnn.photos.truth`; None where their folders tell.
        step: Told how many photos are done.

    Returns:
        What the models reached.

    Raises:
        ValueError: No photo can be read, the class of one is not known or is none of the models', the models have
            other classes than the first, or the folder holds answers of other models or to other photos.
    """
    classes = outputs(subjects, photos.names, photos.open)
    labeled = label_photos(photos, truth, subjects[0].classifier.labels, classes)
    return summarize(subjects, ask(subjects, labeled, output, step), labeled, classes)
