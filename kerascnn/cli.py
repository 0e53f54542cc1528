"""The command line of the networks themselves: list, summary, receptive-field, compare, train.

Exit codes: 0 done; 1 something failed; 2 what was asked for cannot be done as asked.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from kerascnn.analysis import printing
from kerascnn.console import SETTINGS, input_size_option, quiet, run_command
from kerascnn.training.cli import train

if TYPE_CHECKING:
    import keras

Command = TypeVar("Command", bound=Callable[..., None])


@click.group(context_settings=SETTINGS)
def command() -> None:
    """What the classic convolutional networks cost, and what they see.

    \b
    python -m kerascnn list 'resnet*'
    python -m kerascnn summary resnet50 --csv > resnet50.csv
    python -m kerascnn receptive-field vgg16 --png field.png
    python -m kerascnn compare 'resnet*' 'densenet*' --png networks.png
    """


def _printed_as(function: Command) -> Command:
    """The options that say how rows are printed."""
    function = click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)


def _drawn_as(function: Command) -> Command:
    for kind in ("svg", "png"):
        described = click.Path(path_type=Path, dir_okay=False)
        function = click.option(f"--{kind}", type=described, metavar="FILE", help=f"Draw a {kind.upper()}.")(function)
    return function


_HTML = click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page with charts."
)
_INPUT_SIZE = input_size_option("Input size in pixels; the network's own by default.")


@command.command("list")
@click.argument("patterns", nargs=-1, metavar="[NAME|PATTERN]...")
@_printed_as
def list_command(patterns: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """List the networks with their published errors and exact counts."""
    from kerascnn.analysis.comparing import compare, find_models

    rows = {row.name: row for row in compare(patterns or ("*",))}
    ordered = [rows[name] for name in find_models(patterns or ("*",))]
    if as_json or as_csv:
        printing.data([row.row() for row in ordered], as_json)
        return
    width = max(map(len, rows))
    print(f"{'model':{width}}  year  {'input':>7}  {'parameters':>11}  {'GMACs':>7}  top-1 error  title")
    for row in ordered:
        error = "-" if row.error is None else f"{row.error:.2f} %"
        print(
            f"{row.name:{width}}  {row.year}  {row.side:>3}x{row.side:<3}  {row.parameters:>11,}  "
            f"{row.macs / 1e9:7.3f}  {error:>11}  {row.title}"
        )


@command.command()
@click.argument("model", metavar="NAME|FILE.keras")
@_INPUT_SIZE
@click.option("--dtype", default="float32", show_default=True, help="Of the numbers in memory.")
@_HTML
@_printed_as
def summary(
    model: str, input_size: tuple[int, int] | None, dtype: str, html: Path | None, as_json: bool, as_csv: bool
) -> None:
    """Print every layer: output, parameters, multiply-accumulates, memory, receptive field; then the totals."""
    _check_model(model)
    _check_page(html)
    with quiet():
        from kerascnn.analysis.profiling import profile

        built, shape = _open(model, input_size)
        found = profile(built, dtype=dtype, input_shape=shape)
        totals = found.totals()
    if html is not None:
        from kerascnn.analysis.pages.layers import html as page

        html.write_text(page(found), encoding="utf-8")
    if as_json:
        print(json.dumps({**totals, "layers": found.rows()}))
    elif as_csv:
        printing.data(found.rows(), as_json=False)
    else:
        printing.profile(found, totals)
    _announce([html] if html is not None else [])


@command.command("receptive-field")
@click.argument("model", metavar="NAME|FILE.keras")
@click.option("--layer", metavar="NAME", help="The layer to draw; the last feature map by default.")
@_INPUT_SIZE
@click.option("--images", type=click.IntRange(1), default=8, show_default=True, help="Random images for the picture.")
@_drawn_as
@_printed_as
def receptive_field(
    model: str,
    layer: str | None,
    input_size: tuple[int, int] | None,
    images: int,
    png: Path | None,
    svg: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print what each feature map sees of the image in theory; --png and --svg draw what it sees in effect.

    The picture is the gradient of the centre of a layer's output, on TensorFlow, with random weights (or the file's).
    """
    _check_model(model)
    paths = _check_paths(png, svg)
    if paths:
        from kerascnn.analysis import plots

        plots.figure(1, 1)  # a missing matplotlib is found now and not after the work
    with quiet():
        from kerascnn.analysis.profiling import profile

        built, shape = _open(model, input_size)
        found = profile(built, input_shape=shape)
        if layer is not None or paths:
            _draw_field(built, layer, images, paths)
    keys = ("name", "kind", "output", "receptive_field", "stride", "start", "sees_all")
    rows = [{key: row[key] for key in keys} for row in found.rows() if len(row["output"]) == 3]
    if as_json or as_csv:
        printing.data(rows, as_json)
    else:
        printing.fields(rows)
    _announce(paths)


@command.command()
@click.argument("patterns", nargs=-1, metavar="NAME|PATTERN...")
@click.option("--measure", is_flag=True, help="Also run them here: time, memory and energy of forward passes.")
@click.option("--batch-sizes", metavar="LIST", default="1,2,4,8,16", show_default=True, help="For --measure.")
@_drawn_as
@_HTML
@_printed_as
def compare(
    patterns: tuple[str, ...],
    measure: bool,
    batch_sizes: str,
    png: Path | None,
    svg: Path | None,
    html: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Compare published accuracy with work and parameters; --png and --svg draw it as Canziani et al. did.

    What --measure finds is kept, and a network is not run again by the same versions on the same machine.
    """
    from kerascnn.analysis.comparing import compare as compared

    sizes = _check_batch_sizes(batch_sizes)
    rows = compared(patterns)
    paths = _check_paths(png, svg)
    _check_page(html)
    if measure:
        with _steps("measuring") as step:
            rows = compared(patterns, measure=True, batch_sizes=sizes, step=step)
    if paths:
        from kerascnn.analysis import plots

        drawn = plots.plot_comparison(rows)
        for path in paths:
            plots.save(drawn, path)
    if html is not None:
        from kerascnn.analysis.pages.comparison import html as page

        html.write_text(page(rows), encoding="utf-8")
    if as_json or as_csv:
        printing.data([row.row() for row in rows], as_json)
    else:
        printing.comparison(rows)
        if measure:
            printing.measured(rows)
    _announce([*paths, html] if html is not None else paths)


command.add_command(train)


def main() -> None:
    """Run the command; every error is one paragraph on standard error and an exit code."""
    failures = (ImportError, OSError, RuntimeError, FloatingPointError)
    run_command(command, "kerascnn", refusals=(ValueError, TypeError), failures=failures)


def _check_model(model: str) -> None:
    """Refuse what can be refused without Keras."""
    from kerascnn.registry import variant

    if not model.endswith(".keras"):
        variant(model)
    elif not Path(model).is_file():
        raise ValueError(f"There is no file {model!r}.")


def _open(model: str, size: tuple[int, int] | None) -> tuple[keras.Model, tuple[int, ...] | None]:
    """The model, and the input shape to read it with where its own is open."""
    import kerascnn

    if not model.endswith(".keras"):
        channels = kerascnn.variant(model).input_shape[2]
        return kerascnn.create_model(model, **({"input_shape": (*size, channels)} if size else {})), None
    import keras

    importlib.import_module("kerascnn.applications")  # which registers the layers that a file may hold
    try:
        loaded = keras.saving.load_model(model, compile=False)
    except (TypeError, ValueError) as error:
        unknown = re.search(r"Could not locate class '(\w+)'", str(error))
        if unknown is None:
            raise
        raise ValueError(
            f"{model} holds {unknown[1]}, a class of your own that this command cannot import. Load it in Python, and "
            "call kerascnn.analysis.profile(model)."
        ) from error
    if size is None:
        return loaded, None
    return loaded, (*size, loaded.inputs[0].shape[-1])


def _check_paths(png: Path | None, svg: Path | None) -> list[Path]:
    """The pictures that were asked for, refused before any work where they cannot be written."""
    given = [(path, suffix) for path, suffix in ((png, ".png"), (svg, ".svg")) if path is not None]
    for path, suffix in given:
        if path.suffix.lower() != suffix:
            raise ValueError(f"--{suffix[1:]} writes a file whose name ends in {suffix}; it is {str(path)!r}.")
    if given:
        from kerascnn.analysis import plots

        for path, _ in given:
            plots.check_path(path)
    return [path for path, _ in given]


def _check_page(path: Path | None) -> None:
    """Refuse a page that cannot be written, before any work."""
    if path is None:
        return
    from kerascnn.analysis.pages.rendering import MISSING, available

    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--html writes a file whose name ends in .html; it is {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.")
    if not available():
        raise ModuleNotFoundError(MISSING)


def _check_batch_sizes(text: str) -> tuple[int, ...]:
    from kerascnn.analysis.measuring import check_batch_sizes

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ValueError(f"--batch-sizes are whole numbers with commas between, such as 1,4,16; they are {text!r}.")
    return check_batch_sizes([int(part) for part in parts])


@contextlib.contextmanager
def _steps(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error that says how many networks are done; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what)
        yield lambda name, done, total: bar.update(task, completed=done, total=total, description=f"{what} {name}")


def _announce(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"Written: {path}", file=sys.stderr)


def _draw_field(model: keras.Model, layer: str | None, images: int, paths: Sequence[Path]) -> None:
    from kerascnn.analysis import plots
    from kerascnn.analysis.calls import read_calls
    from kerascnn.analysis.fields import effective_receptive_field, find_map
    from kerascnn.analysis.fields import receptive_field as theory

    graph = read_calls(model)
    call = find_map(graph, layer)
    field = theory(model, call.name)
    if not paths:
        return
    height, width = (side or 0 for side in graph.shapes[call.outputs[0]][:2])
    effective = effective_receptive_field(model, call.name, images=images)
    title = f"{model.name}: effective receptive field of {call.name}"
    drawn = plots.plot_receptive_field(effective, field, (height // 2, width // 2), title)
    for path in paths:
        plots.save(drawn, path)
