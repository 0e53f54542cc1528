"""The command `finetune`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from kerascnn.console import SETTINGS, options_as, parse_time, quiet

if TYPE_CHECKING:
    from kerascnn.training.data import AnyImages
    from kerascnn.training.tuning.fitting import Tuned
    from kerascnn.training.tuning.stages import Stage, Tuning

_SHOWN = 12  # classes whose counts are listed
_UNBALANCED = 5  # the largest class by the smallest
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Options:
    """What the command line gives: see the options' help."""

    model: str
    weights: str
    data: Path
    output: Path
    validation: Path | None
    input_size: int | None
    epochs: int
    batch: int
    rate: float
    max_time: float | None
    seed: int


@click.command("finetune", context_settings=SETTINGS)
@click.option("--model", required=True, metavar="NAME", help="The network: see `list`.")
@click.option(
    "--weights",
    default="auto",
    metavar="auto|NAME|FILE",
    help="The weights to begin with; by default published ones, those at hand first.",
)
@click.option("--data", required=True, type=_PATH, metavar="DIR|ZIP", help="Photos, a folder a class.")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of checkpoint, network and results; its name is the network's.",
)
@click.option(
    "--validation",
    type=_PATH,
    metavar="DIR|ZIP",
    help="Photos to judge with; by default the test part of --data, or one of five photos of each class.",
)
@click.option(
    "--epochs", type=click.IntRange(1), default=15, show_default=True, help="Passes over the photos, at most."
)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Photos in a step, at most.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Learning rate of the new head; layers below it take a part of it.",
)
@click.option("--input-size", type=click.IntRange(1), metavar="N", help="Side of the photos in pixels.")
@click.option(
    "--max-time",
    metavar="SECONDS|90s|30m|2h",
    callback=parse_time,
    help="Stop after this time; the same command continues later.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@options_as(Options, "options")
def finetune(options: Options) -> None:
    """Teach a trained network classes of your own, with some dozens of photos of each.

    A new head is trained first, then the upper half of the layers with it, then all of them, until held-out photos are
    named no better. The same command again continues a run that was stopped; with more --epochs, also one that is
    finished.

    \b
    python -m kerascnn finetune --model squeezenet --weights imagenet --data photos/ --output runs/mine
    """
    tuning = _tuning(options)
    with quiet() as stream:
        from kerascnn.training.progress import ProgressBar
        from kerascnn.training.tuning.fitting import tune

        def begins(number: int, stage: Stage, layers: list[str]) -> None:
            from kerascnn.training.tuning.stages import STAGES

            rate = f"{tuning.rate * stage.rate:g}"
            trained = f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"
            _say(stream, f"Stage {number + 1} of {len(STAGES)}: {stage.title} ({trained}), rate {rate}")

        _say(stream, f"{tuning.model} with the weights {tuning.weights}, photos of {tuning.side} pixels")
        with ProgressBar(tuning.epochs, stream) as bar:
            tuned = tune(tuning, [bar], lambda images, held: _describe(stream, images, held), begins)
        path, pictures = _write(tuning, tuned)
    _finish(tuning, tuned, path, pictures)


def _tuning(options: Options) -> Tuning:
    """Check without Keras what is asked for."""
    from kerascnn import registry
    from kerascnn.photos.files import find_photos
    from kerascnn.training.tuning.stages import Tuning
    from kerascnn.weights import find
    from kerascnn.weights.sources import preferred

    registry.variant(options.model)
    weights = options.weights
    if weights == "auto":
        record = preferred(options.model)
        if record is None:
            raise ValueError(
                f"{options.model} has no published weights to begin with. Give --weights FILE, or train it: python -m "
                f"kerascnn train --model {options.model}."
            )
        weights = record.name
    find(options.model, weights)
    for photos in filter(None, (options.data, options.validation)):
        find_photos(photos)
    return Tuning(
        options.model,
        weights,
        options.data,
        options.output,
        options.validation,
        options.input_size,
        options.epochs,
        options.batch,
        options.rate,
        options.max_time,
        options.seed,
    )


def _say(stream: IO[str], text: str) -> None:
    print(text, file=stream)


def _describe(stream: IO[str], images: AnyImages, held: AnyImages) -> None:
    """Say how many photos there are of each class, and what is left out."""
    skipped = [*images.skipped, *held.skipped]
    for name, reason in skipped[:_SHOWN]:
        _say(stream, f"Left out: {name}: {reason}")
    if len(skipped) > _SHOWN:
        _say(stream, f"Left out: {len(skipped) - _SHOWN:,} more")
    counts = [(int((images.labels == i).sum()), int((held.labels == i).sum())) for i in range(len(images.classes))]
    _say(stream, f"{len(images):,} photos of {len(counts)} classes to train on, {len(held):,} held out")
    rows = sorted(zip(images.classes, counts, strict=True), key=lambda row: row[1])
    width = max(len(name) for name in images.classes)
    for name, (trained, kept) in rows if len(rows) <= _SHOWN else [*rows[:3], *rows[-3:]]:
        _say(stream, f"  {name:{width}}  {trained:>6,} to train on  {kept:>6,} held out")
    fewest, most = rows[0], rows[-1]
    if most[1][0] >= _UNBALANCED * max(1, fewest[1][0]):
        _say(
            stream,
            f"Unbalanced: {most[0]} has {most[1][0]:,} photos and {fewest[0]} {fewest[1][0]:,}. The network will "
            "prefer the classes with many; more photos of the others help most.",
        )
    unjudged = [name for name, (_, kept) in rows if not kept]
    if unjudged:
        _say(stream, f"Not judged, because no photo of them is held out: {', '.join(unjudged[:_SHOWN])}")


def _write(tuning: Tuning, tuned: Tuned) -> tuple[Path, list[str]]:
    """Write all files; return the network's path and what there is to say of the pictures."""
    from kerascnn.training import results as curves
    from kerascnn.training.tuning import results

    path = results.write(tuning, tuned, ["python", "-m", "kerascnn", *map(shlex.quote, sys.argv[1:])])
    said = []
    try:
        if tuned.history:
            curves.plot(tuned.history, tuning.output / "history.png", f"{tuning.name}: {tuning.model}, fine-tuned")
            said.append(f"Curves: {tuning.output / 'history.png'}")
        title = f"{tuning.name}: {len(tuned.validation):,} held-out photos"
        drawn = results.plot_confusion(tuned, tuning.output / "confusion.png", title)
        said.append(f"Confusions: {tuning.output / ('confusion.png' if drawn else 'confusion.csv')}")
    except ModuleNotFoundError as error:
        said.append(f"No pictures were drawn: {error}")
    return path, said


def _finish(tuning: Tuning, tuned: Tuned, path: Path, said: list[str]) -> None:
    from kerascnn.training.tuning.results import mistakes
    from kerascnn.training.tuning.stages import PATIENCE

    count = len(tuned.validation)
    state = "fine-tuned" if tuned.finished else f"stopped by --max-time after {len(tuned.history)} epochs"
    if tuned.stopped_early:
        state += f"; ended after {len(tuned.history)} epochs, because the last {PATIENCE} did not help"
    print(f"{tuning.name}: {state}.")
    print(
        f"{100 * tuned.accuracy:.1f} % of {count:,} held-out photos are named correctly ({tuned.confusion.trace():,})."
    )
    for name, other, times, of in mistakes(tuned):
        print(f"  {name} taken for {other}: {times} of {of}")
    print("\n".join(said))
    print(f"Network: {path} ({path.stat().st_size:,} bytes)")
    if not tuned.finished:
        print("Run the same command again to continue.")
        return
    print(
        f"Try it:\n  python -m kerascnn predict {shlex.quote(str(tuning.output))} PHOTO\n"
        f"Export it:\n  python -m export --model {shlex.quote(str(tuning.output))} --all --quantize float16,int8"
    )
