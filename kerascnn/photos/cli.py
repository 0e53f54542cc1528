"""The command `predict`: photos in, names and probabilities out."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerascnn.console import HTML, SETTINGS, check_file, options_as, quiet
from kerascnn.photos.choosing import PreprocessingChoice, preprocessing_options

if TYPE_CHECKING:
    from kerascnn.analysis.pages.blocks import Answered
    from kerascnn.photos.classifying import Answer, Classifier
    from kerascnn.photos.gathering import Photo

_BAR = 24


@dataclass(frozen=True)
class Options:
    """What the command line gives: see the options' help."""

    weights: str
    labels: Path | None
    top: int
    as_json: bool
    html: Path | None


@dataclass
class Shown:
    """What came of the photos so far."""

    answers: list[Answer] = field(default_factory=list)
    cards: list[Answered] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    named_failed: bool = False


@click.command("predict", context_settings=SETTINGS)
@click.argument("model")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "--weights", metavar="auto|NAME|FILE", default="auto", help="Of a network by name; by default its published ones."
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name for each photo.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Class names, one a line, if the model does not remember them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a contact sheet as a page."
)
@preprocessing_options
@options_as(Options, "options")
def predict(model: str, photos: tuple[str, ...], options: Options, preprocessing: PreprocessingChoice) -> int:
    """Name what photos show.

    MODEL is a network by name with published weights, a .keras, .kdc, .tflite or .onnx file, a SavedModel, or the
    folder of an export or of a fine-tuning run. PHOTO is a file, a folder or a zip.

    \b
    python -m kerascnn predict squeezenet cat.jpg holiday/
    python -m kerascnn predict artifacts/mine photos.zip --html sheet.html
    """
    from kerascnn.data import read_labels
    from kerascnn.photos.gathering import gather
    from kerascnn.photos.opening import check_name, open_classifier

    if options.html is not None:
        from kerascnn.analysis.pages.rendering import check_installed

        check_file(options.html, "--html", HTML)
        check_installed(charts=False)
    check_name(model, options.weights)
    labels = read_labels(options.labels) if options.labels else None
    given = preprocessing if preprocessing.given else None
    shown = Shown()
    gathered = gather(photos, left_out=lambda name, why: shown.left_out.append((name, why)))
    with quiet():
        with contextlib.redirect_stdout(sys.stderr):  # Keras announces downloads on standard output
            asked = open_classifier(model, options.weights, preprocessing=given, labels=labels)
        _ask(asked, gathered, options, shown)
    if not shown.answers and len(gathered) == 1:
        raise ValueError("{} cannot be read: {}".format(*shown.left_out[-1]))
    for name, reason in shown.left_out:
        print(f"Left out: {name}: {reason}", file=sys.stderr)
    if not shown.answers:
        raise ValueError(f"None of the {len(gathered):,} photos can be read.")
    if options.as_json:
        print(json.dumps(_as_json(model, shown), indent=2, ensure_ascii=False))
    if options.html is not None:
        _write_sheet(asked.name, shown, options.html)
    return 1 if shown.named_failed else 0


def _ask(asked: Classifier, photos: Sequence[Photo], options: Options, shown: Shown) -> None:
    from kerascnn.photos.sheet import card

    def broken(photo: Photo, reason: str) -> None:
        shown.left_out.append((photo.name, reason))
        shown.named_failed |= photo.named

    for photo, answer in asked.answers(photos, options.top, broken):
        shown.answers.append(answer)
        if options.html is not None:
            shown.cards.append(card(photo, answer))
        if not options.as_json:
            _print(answer)


def _print(answer: Answer) -> None:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
        full, parts = "█", " ▏▎▍▌▋▊▉"
    except UnicodeEncodeError:
        full, parts = "#", "        "
    print(answer.photo)
    for guess in answer.classes:
        whole, part = divmod(round(guess.probability * _BAR * 8), 8)
        print(f"  {100 * guess.probability:5.1f} %  {full * whole + parts[part]:{_BAR + 1}} {guess.name}")


def _as_json(model: str, shown: Shown) -> dict[str, Any]:
    return {
        "model": model,
        "answers": [
            {
                "photo": answer.photo,
                "classes": [
                    {"class": guess.number, "name": guess.name, "probability": round(guess.probability, 6)}
                    for guess in answer.classes
                ],
            }
            for answer in shown.answers
        ],
        "left_out": [{"photo": name, "reason": reason} for name, reason in shown.left_out],
    }


def _write_sheet(name: str, shown: Shown, path: Path) -> None:
    from kerascnn.files import replacing
    from kerascnn.photos import sheet

    with replacing(path) as partial:
        partial.write_text(sheet.html(name, shown.cards, shown.left_out), encoding="utf-8")
    print(f"Written: {path}", file=sys.stderr)
