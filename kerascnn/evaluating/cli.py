"""The command `evaluate`. What can be refused is refused before Keras is imported."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from kerascnn.analysis.options import FILE, Pictures, Style, announce, picture_options, progress, style_options
from kerascnn.console import SETTINGS, options_as, quiet
from kerascnn.photos.choosing import PreprocessingChoice, preprocessing_options


@dataclass(frozen=True)
class Options:
    """What the command line gives: see the options' help."""

    data: Path
    truth: Path | None
    weights: str
    labels: Path | None
    output: Path | None
    style: Style


@click.command("evaluate", context_settings=SETTINGS)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|ZIP",
    help="Photos, in folders named after their classes or with --truth.",
)
@click.option("--truth", type=FILE, metavar="FILE", help="The classes of the photos: NAME CLASS in each line.")
@click.option(
    "--weights", metavar="auto|NAME|FILE", default="auto", help="Of a network by name; by default its published ones."
)
@click.option("--labels", type=FILE, metavar="FILE", help="Class names, one a line, if a model does not remember them.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where answers are kept, and taken up again; by default evaluations/DATA.",
)
@style_options
@picture_options
@preprocessing_options
@options_as(Pictures, "pictures")
@options_as(Options, "options")
def evaluate(models: tuple[str, ...], options: Options, pictures: Pictures, preprocessing: PreprocessingChoice) -> None:
    """Measure how often models are right on labeled photos, and how sure that is.

    MODEL is what `predict` takes: a network by name with published weights, a .keras, .kdc, .tflite or .onnx file, a
    SavedModel, or the folder of a fine-tuning run. Of an export, every artifact is evaluated. All are compared with
    the first.

    \b
    python -m kerascnn evaluate artifacts/squeezenet --data photos/
    python -m kerascnn evaluate squeezenet mine.tflite --data val/ --truth val.txt --csv > figures.csv
    """
    from kerascnn.data import read_labels
    from kerascnn.evaluating.subjects import find_subjects, open_subjects
    from kerascnn.photos.files import find_photos

    photos = find_photos(options.data)
    if options.truth is not None and not options.truth.is_file():
        raise ValueError(f"There is no list of classes {options.truth}.")
    found = find_subjects(models, options.weights)
    labels = read_labels(options.labels) if options.labels else None
    given = preprocessing if preprocessing.given else None
    output = options.output or Path("evaluations") / photos.name.removesuffix(".zip")
    with quiet() as stream, contextlib.redirect_stdout(sys.stderr), progress("evaluating", stream) as step:
        from kerascnn.evaluating import evaluate

        subjects = open_subjects(found, options.weights, preprocessing=given, labels=labels)
        evaluation = evaluate(subjects, photos, output, options.truth, step)
    for name, why in evaluation.left_out.items():
        print(f"Left out: {name}: {why}", file=sys.stderr)
    if pictures.paths:
        from kerascnn.analysis.plots import save
        from kerascnn.evaluating.plots import plot

        save(plot(evaluation), *pictures.paths)
    if options.style == "json":
        print(json.dumps(evaluation.as_json()))
    elif options.style == "csv":
        from kerascnn.analysis import printing

        printing.data(evaluation.rows(), "csv")
    else:
        from kerascnn.evaluating.printing import show

        show(evaluation)
    announce(*pictures.paths)
