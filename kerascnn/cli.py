"""The command line of the networks themselves: list, summary, receptive-field, compare.

Exit codes: 0 done; 1 something failed; 2 what was asked for cannot be done as asked.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import keras

Command = TypeVar("Command", bound=Callable[..., None])


@click.group(context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
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


_INPUT_SIZE = click.option("--input-size", metavar="N|HxW", help="Input size in pixels; the network's own by default.")


@command.command("list")
@click.argument("patterns", nargs=-1, metavar="[NAME|PATTERN]...")
@_printed_as
def list_command(patterns: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """List the networks with their published errors and exact counts."""
    from kerascnn.analysis.comparing import compare, find_models

    rows = {row.name: row for row in compare(patterns or ("*",))}
    ordered = [rows[name] for name in find_models(patterns or ("*",))]
    if as_json or as_csv:
        _print_data([row.row() for row in ordered], as_json)
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
@_printed_as
def summary(model: str, input_size: str | None, dtype: str, as_json: bool, as_csv: bool) -> None:
    """Print every layer: output, parameters, multiply-accumulates, memory, receptive field; then the totals."""
    size = _check_model(model, input_size)
    with _quiet():
        from kerascnn.analysis.profiling import profile

        built, shape = _open(model, size)
        found = profile(built, dtype=dtype, input_shape=shape)
        totals = found.totals()
    if as_json:
        print(json.dumps({**totals, "layers": found.rows()}))
    elif as_csv:
        _print_data(found.rows(), as_json=False)
    else:
        _print_profile(found, totals)


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
    input_size: str | None,
    images: int,
    png: Path | None,
    svg: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print what each feature map sees of the image in theory; --png and --svg draw what it sees in effect.

    The picture is the gradient of the centre of a layer's output, on TensorFlow, with random weights (or the file's).
    """
    size = _check_model(model, input_size)
    paths = _check_paths(png, svg)
    if paths:
        from kerascnn.analysis import plots

        plots.figure(1, 1)  # a missing matplotlib is found now and not after the work
    with _quiet():
        from kerascnn.analysis.profiling import profile

        built, shape = _open(model, size)
        found = profile(built, input_shape=shape)
        if layer is not None or paths:
            _draw_field(built, layer, images, paths)
    keys = ("name", "kind", "output", "receptive_field", "stride", "start", "sees_all")
    rows = [{key: row[key] for key in keys} for row in found.rows() if len(row["output"]) == 3]
    if as_json or as_csv:
        _print_data(rows, as_json)
    else:
        _print_fields(rows)
    _announce(paths)


@command.command()
@click.argument("patterns", nargs=-1, metavar="NAME|PATTERN...")
@_drawn_as
@_printed_as
def compare(patterns: tuple[str, ...], png: Path | None, svg: Path | None, as_json: bool, as_csv: bool) -> None:
    """Compare published accuracy with work and parameters; --png and --svg draw it as Canziani et al. did."""
    from kerascnn.analysis.comparing import compare as compared

    rows = compared(patterns)
    paths = _check_paths(png, svg)
    if paths:
        from kerascnn.analysis import plots

        drawn = plots.plot_comparison(rows)
        for path in paths:
            plots.save(drawn, path)
    if as_json or as_csv:
        _print_data([row.row() for row in rows], as_json)
    else:
        _print_comparison(rows)
    _announce(paths)


def main() -> None:
    """Run the command; every error is one paragraph on standard error and an exit code."""
    try:
        command.main(prog_name="kerascnn", standalone_mode=False)
    except click.UsageError as error:
        _end(f"{error.format_message()} Try --help.", 2)
    except (ValueError, TypeError) as error:
        _end(str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        _end("Stopped.", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        _end(str(error) if isinstance(error, ImportError | OSError | RuntimeError) else f"{error!r}"[:400], 1)


def _end(message: str, code: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what TensorFlow's C++ says at its start away from the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    real, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
        os.close(nowhere)


def _check_model(model: str, input_size: str | None) -> tuple[int, int] | None:
    """Refuse what can be refused without Keras; the input size."""
    from kerascnn.registry import variant

    if not model.endswith(".keras"):
        variant(model)
    elif not Path(model).is_file():
        raise ValueError(f"There is no file {model!r}.")
    if input_size is None:
        return None
    sides = input_size.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--input-size is one number or HEIGHTxWIDTH, such as 224 or 224x320; it is {input_size!r}.")
    return int(sides[0]), int(sides[-1])


def _open(model: str, size: tuple[int, int] | None) -> tuple[keras.Model, tuple[int, ...] | None]:
    """The model, and the input shape to read it with where its own is open."""
    import kerascnn

    if not model.endswith(".keras"):
        channels = kerascnn.variant(model).input_shape[2]
        return kerascnn.create_model(model, **({"input_shape": (*size, channels)} if size else {})), None
    import keras

    importlib.import_module("kerascnn.applications")  # which registers the layers that a file may hold
    loaded = keras.saving.load_model(model, compile=False)
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


def _print_data(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _flat(value) for key, value in row.items()})


def _flat(value: Any) -> Any:
    return "x".join(f"{side:g}" for side in value) if isinstance(value, list) else value


def _table(columns: str, numeric: int) -> Any:
    """A table with these headings, the last `numeric` of them to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    names = columns.split("|")
    for i, name in enumerate(names):
        right = i >= len(names) - numeric
        made.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis" if i else "fold")
    return made


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 132, highlight=False, markup=False)


def _print_profile(found: Any, totals: dict[str, Any]) -> None:
    table = _table("layer|kind|output|parameters|MACs|share|KiB|field|stride", 7)
    for row in found.rows():
        macs = "unknown" if row["macs"] is None else f"{row['macs']:,}"
        table.add_row(
            row["name"],
            row["kind"],
            _sides(row["output"]),
            f"{row['parameters']:,}" + (f" +{row['untrained']:,}" if row["untrained"] else ""),
            macs,
            f"{row['share']:.1%}" if row["macs"] else "",
            f"{row['memory_kib']:,.1f}",
            "" if row["receptive_field"] is None else ("all" if row["sees_all"] else _sides(row["receptive_field"])),
            "" if row["stride"] is None or row["stride"] == [0, 0] else _sides(row["stride"]),
        )
    console = _console()
    console.print(table)
    lines = {
        "parameters": f"{totals['parameters']:,}, and {totals['untrained']:,} that are not trained (+ above)",
        "multiply-accumulates": f"{totals['macs']:,}; {totals['flops_2x']:,} FLOPs; {totals['flops_lecture']:,} as "
        "the lectures count",
        f"weights ({found.dtype})": _mib(totals["weights_kib"]),
        "all outputs": _mib(totals["forward_kib"]),
        "kept for training": _mib(totals["training_kib"]) + " an image",
        "peak of a forward pass": f"{_mib(totals['peak_kib'])} an image, at {totals['peak_at']}, "
        + ("in the order that needs least" if totals["peak_optimal"] else "branch by branch as built"),
    }
    for name, text in lines.items():
        console.print(f"{name:>23}  {text}")
    if totals["unknown"]:
        console.print(f"{'NOT COUNTED':>23}  {', '.join(totals['unknown'])}: layers of kinds that are not known")


def _print_fields(rows: Sequence[dict[str, Any]]) -> None:
    table = _table("layer|kind|output|field|stride|first pixel|", 5)
    for row in rows:
        known = row["receptive_field"] is not None
        parts = [_sides(row[key]) if known else "unknown" for key in ("receptive_field", "stride", "start")]
        table.add_row(row["name"], row["kind"], _sides(row["output"]), *parts, "+ all" if row["sees_all"] else "")
    _console().print(table)
    print("field, stride and the first pixel that output 0 sees: in pixels of the image; + all: through global pooling")


def _print_comparison(rows: Sequence[Any]) -> None:
    table = _table("model|year|data|published by|input|M params|GMACs|top-1 error|top-5|% per M", 6)
    for row in rows:
        table.add_row(
            row.name,
            str(row.year),
            row.data,
            _short(row.source.replace(f", {row.data}", "")) or "-",
            str(row.side),
            f"{row.parameters / 1e6:.2f}",
            f"{row.macs / 1e9:.3f}",
            _percent(row.error),
            _percent(row.error5),
            _percent(row.accuracy_per_million),
        )
    _console().print(table)


def _short(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sides(values: Sequence[float]) -> str:
    return "x".join(f"{value:g}" for value in values) or "1"


def _mib(kib: float) -> str:
    return f"{kib / 1024:,.2f} MiB"
