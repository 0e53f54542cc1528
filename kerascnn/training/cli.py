"""The command `train` of kerascnn's command line."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import click

from kerascnn.console import SETTINGS, options_as, parse_time, quiet

if TYPE_CHECKING:
    from kerascnn.training.distribution import Cluster
    from kerascnn.training.recipes import Recipe
    from kerascnn.training.runs import Result, Run


_SHOWN = 6  # files that are named


@dataclass(frozen=True)
class Options:
    """What the command line gives: see the options' help."""

    model: str | None
    data: Path | None
    validation: Path | None
    recipe: str | None
    output: Path | None
    weights: str | None
    epochs: int | None
    batch: int | None
    rate: float | None
    input_size: int | None
    max_time: float | None
    seed: int
    precision: Literal["float32", "bfloat16", "float16"]
    jit: bool | None
    half: bool
    tensorboard: bool
    listing: bool


@click.command("train", context_settings=SETTINGS)
@click.option("--model", metavar="NAME", help="The network: see `list`.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|FILE.npz|tfds:NAME",
    help="Images, a folder a class; or a data set of tensorflow-datasets.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|FILE.npz",
    help="Images to validate with; by default the test part of --data, or a tenth of it.",
)
@click.option("--recipe", metavar="NAME", help="How it is trained; by default as its paper says.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of checkpoint, history and results.",
)
@click.option("--weights", metavar="NAME|FILE", help="Begin with these weights of the network.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images, instead of the recipe's.")
@click.option("--batch", type=click.IntRange(1), help="Images in a step, instead of the recipe's.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Learning rate, instead of the recipe's.")
@click.option("--input-size", type=click.IntRange(1), metavar="N", help="Side of the images in pixels.")
@click.option(
    "--max-time",
    metavar="SECONDS|90s|30m|2h",
    callback=parse_time,
    help="Stop after this time; the same command continues later.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the arithmetic; weights stay float32.",
)
@click.option("--jit/--no-jit", default=None, help="Compile the step with XLA; by default only on JAX.")
@click.option("--float16-file", "half", is_flag=True, help="Round the finished weights to float16: half the file.")
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard too.")
@click.option("--list", "listing", is_flag=True, help="List the recipes.")
@options_as(Options, "options")
def train(options: Options) -> None:
    """Train a network as its paper says.

    The same command again continues a run that was stopped, with the result of a run that never stopped.

    \b
    python -m kerascnn train --model lenet5 --data mnist.npz --recipe onecycle_mnist --output runs/lenet5
    python -m kerascnn train --model resnet20_cifar --data cifar10.zip --epochs 30 --output runs/resnet20
    KERAS_BACKEND=jax python -m kerascnn train ...

    Trains on every GPU of this machine, and over the workers of TF_CONFIG: see "Several workers" in docs/training.md.
    """
    if options.listing:
        _print_recipes()
        return
    run = _run(options)
    from kerascnn.training import distribution

    workers = distribution.cluster()
    # What a backend says of workers that are gone must be seen.
    with quiet() if workers.count == 1 else nullcontext(sys.stderr) as stream:
        from kerascnn.training import fitting  # imports Keras, after everything that can be checked without

        fitting.check(run)
        try:
            result = _train(run, workers, stream)
        except BaseException as error:
            distribution.leave(workers, 2 if isinstance(error, ValueError) else 1)
            raise
        if workers.chief:
            _finish(run, result)


def _run(options: Options) -> Run:
    """Check without Keras what is asked for."""
    from kerascnn import registry
    from kerascnn.training.recipes import changed, recipe, recipe_for
    from kerascnn.training.runs import Run

    model, data, output = options.model, options.data, options.output
    if model is None or data is None or output is None:
        missing = next(name for name in ("model", "data", "output") if getattr(options, name) is None)
        raise click.UsageError(f"--{missing} is missing.")
    registry.variant(model)
    settings = recipe(options.recipe) if options.recipe else recipe_for(model)
    if not settings.fits(model):
        print(f"Note: the recipe {settings.name} is meant for {', '.join(settings.models)}.", file=sys.stderr)
    return Run(
        model,
        changed(settings, epochs=options.epochs, batch=options.batch, rate=options.rate),
        data,
        output,
        options.validation,
        options.input_size,
        options.weights,
        options.seed,
        options.max_time,
        options.precision,
        options.jit,
        options.tensorboard,
        options.half,
    )


def _train(run: Run, workers: Cluster, stream: IO[str]) -> Result:
    from kerascnn.training.fitting import train
    from kerascnn.training.progress import ProgressBar

    if not workers.chief:
        print(f"Worker {workers.index} of {workers.count}; worker 0 shows the progress.", file=sys.stderr)
        return train(run)
    if workers.count > 1:
        print(f"Worker 0 of {workers.count}, waiting for the others at {workers.coordinator}.", file=sys.stderr)
    print(f"{run.model} by the recipe {run.recipe.name}: {run.recipe.title}", file=stream)
    print(f"({run.recipe.source})", file=stream)
    with ProgressBar(run.recipe.epochs, stream) as bar:
        return train(run, [bar])


def _finish(run: Run, result: Result) -> None:
    from kerascnn.training import results

    if result.skipped:
        named = "; ".join(f"{name} ({reason})" for name, reason in result.skipped[:_SHOWN])
        more = f"; {len(result.skipped) - _SHOWN:,} more" if len(result.skipped) > _SHOWN else ""
        files = (
            "file that is not a readable image" if len(result.skipped) == 1 else "files that are not readable images"
        )
        print(f"Left out {len(result.skipped):,} {files}: {named}{more}.")
    path, _ = results.write(run, result, ["python", "-m", "kerascnn", *map(shlex.quote, sys.argv[1:])])
    state = "trained" if result.finished else f"stopped by --max-time after {len(result.history)} epochs"
    print(
        f"{run.model}: {state}; {result.accuracy:.2%} of {result.images[1]:,} validation images are classified "
        "correctly."
    )
    picture = run.output / "history.png"
    if result.history:
        try:
            results.plot(result.history, picture, f"{run.model}, {run.recipe.name}")
            print(f"Curves: {picture}")
        except ModuleNotFoundError as error:
            print(f"No curves were drawn: {error}")
    print(f"Network: {path} ({path.stat().st_size:,} bytes)")
    if not result.finished:
        print("Run the same command again to continue.")
    else:
        print(f"Export it:\n  python -m export --model {shlex.quote(str(path))} --tflite --saved-model --onnx")


def _print_recipes() -> None:
    from kerascnn.training.recipes import list_recipes

    for recipe in list_recipes().values():
        print(f"{recipe.name:24} {recipe.title}")
        print(f"{'':24} {_described(recipe)}")


def _described(recipe: Recipe) -> str:
    return (
        f"{recipe.optimizer}, rate {recipe.rate:g} ({recipe.schedule.kind}), batch {recipe.batch}, weight decay "
        f"{recipe.weight_decay:g}, {recipe.epochs} epochs, {recipe.input_size} pixels"
    )
