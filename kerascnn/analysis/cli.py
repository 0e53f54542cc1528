"""The commands list, summary, receptive-field and compare. What can be refused is refused before Keras is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascnn.analysis import printing
from kerascnn.analysis.options import (
    FILE,
    Pictures,
    Style,
    announce,
    check_picture,
    picture_options,
    progress,
    style_options,
)
from kerascnn.console import input_size_option, options_as, quiet

if TYPE_CHECKING:
    import keras


def _check_model(ctx: click.Context, param: click.Parameter, model: str) -> str:
    from kerascnn.registry import variant

    if not model.endswith(".keras"):
        variant(model)
    elif not Path(model).is_file():
        raise ValueError(f"There is no file {model!r}.")
    return model


def _parse_batch_sizes(ctx: click.Context, param: click.Parameter, text: str) -> tuple[int, ...]:
    from kerascnn.analysis.measuring import check_batch_sizes

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ValueError(f"--batch-sizes are whole numbers with commas between, such as 1,4,16; they are {text!r}.")
    return check_batch_sizes([int(part) for part in parts])


_MODEL = click.argument("model", metavar="NAME|FILE.keras", callback=_check_model)
_INPUT_SIZE = input_size_option("Input size in pixels; the network's own by default.")
_HTML = click.option("--html", type=FILE, metavar="FILE", callback=check_picture, help="Write a page with charts.")


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[NAME|PATTERN]...")
@style_options
def list_networks(patterns: tuple[str, ...], style: Style) -> None:
    """List the networks with their published errors and exact counts."""
    from kerascnn.analysis.comparing import compare, find_models

    rows = {row.name: row for row in compare(patterns or ("*",))}
    ordered = [rows[name] for name in find_models(patterns or ("*",))]
    if style:
        printing.data([row.row() for row in ordered], style)
    else:
        printing.listing(ordered)


@click.command("summary")
@_MODEL
@_INPUT_SIZE
@click.option("--dtype", default="float32", show_default=True, help="Of the numbers in memory.")
@_HTML
@style_options
def summary(model: str, input_size: tuple[int, int] | None, dtype: str, html: Path | None, style: Style) -> None:
    """Print every layer: output, parameters, multiply-accumulates, memory, receptive field; then the totals."""
    with quiet():
        from kerascnn.analysis.profiling import profile

        network, shape = _open(model, input_size)
        costs = profile(network, dtype=dtype, input_shape=shape)
        totals = costs.totals()
    if html is not None:
        from kerascnn.analysis.pages.layers import html as page

        html.write_text(page(costs), encoding="utf-8")
    if style == "json":
        print(json.dumps({**totals, "layers": costs.rows()}))
    elif style == "csv":
        printing.data(costs.rows(), style)
    else:
        printing.profile(costs, totals)
    announce(html)


@click.command("receptive-field")
@_MODEL
@click.option("--layer", metavar="NAME", help="The layer to draw; the last feature map by default.")
@_INPUT_SIZE
@click.option("--images", type=click.IntRange(1), default=8, show_default=True, help="Random images for the picture.")
@picture_options
@style_options
@options_as(Pictures, "pictures")
def receptive_field(
    model: str,
    layer: str | None,
    input_size: tuple[int, int] | None,
    images: int,
    pictures: Pictures,
    style: Style,
) -> None:
    """Print what each feature map sees of the image in theory; --png and --svg draw what it sees in effect.

    The picture is the gradient of the center of a layer's output, on TensorFlow, with random weights (or the file's).
    """
    with quiet():
        from kerascnn.analysis.profiling import profile

        network, shape = _open(model, input_size)
        costs = profile(network, input_shape=shape)
        if layer is not None or pictures.paths:
            _draw_field(network, layer, images, pictures.paths)
    keys = ("name", "kind", "output", "receptive_field", "stride", "start", "sees_all")
    rows = [{key: row[key] for key in keys} for row in costs.rows() if len(row["output"]) == 3]
    if style:
        printing.data(rows, style)
    else:
        printing.fields(rows)
    announce(*pictures.paths)


@click.command("compare")
@click.argument("patterns", nargs=-1, metavar="NAME|PATTERN...")
@click.option("--measure", is_flag=True, help="Also run them here: time, memory and energy of forward passes.")
@click.option(
    "--batch-sizes",
    metavar="LIST",
    default="1,2,4,8,16",
    show_default=True,
    callback=_parse_batch_sizes,
    help="For --measure.",
)
@picture_options
@_HTML
@style_options
@options_as(Pictures, "pictures")
def compare_networks(
    patterns: tuple[str, ...],
    measure: bool,
    batch_sizes: tuple[int, ...],
    pictures: Pictures,
    html: Path | None,
    style: Style,
) -> None:
    """Compare published accuracy with work and parameters; --png and --svg draw it as Canziani et al. did.

    What --measure finds is kept, and a network is not run again by the same versions on the same machine.
    """
    from kerascnn.analysis.comparing import compare

    rows = compare(patterns)
    if measure:
        with progress("measuring") as step:
            rows = compare(patterns, measure=True, batch_sizes=batch_sizes, step=step)
    if pictures.paths:
        from kerascnn.analysis import plots

        plots.save(plots.plot_comparison(rows), *pictures.paths)
    if html is not None:
        from kerascnn.analysis.pages.comparison import html as page

        html.write_text(page(rows), encoding="utf-8")
    if style:
        printing.data([row.row() for row in rows], style)
    else:
        printing.comparison(rows)
        if measure:
            printing.measured(rows)
    announce(*pictures.paths, html)


def _open(model: str, size: tuple[int, int] | None) -> tuple[keras.Model, tuple[int, ...] | None]:
    """Build or load a network; also the input shape to read it with where its own is open."""
    import kerascnn

    if not model.endswith(".keras"):
        channels = kerascnn.variant(model).input_shape[2]
        return kerascnn.create_model(model, **({"input_shape": (*size, channels)} if size else {})), None
    from kerascnn.saving import load_model, own_class

    try:
        network = load_model(model, compile=False)
    except (TypeError, ValueError) as error:
        unknown = own_class(error)
        if unknown is None:
            raise
        raise ValueError(
            f"{model} holds {unknown}, a class of your own that this command cannot import. Load it in Python, and "
            "call kerascnn.analysis.profile(model)."
        ) from error
    return network, (*size, network.inputs[0].shape[-1]) if size else None


def _draw_field(network: keras.Model, layer: str | None, images: int, paths: list[Path]) -> None:
    """Draw the effective receptive field of a layer; without paths only refuse an unknown layer."""
    from kerascnn.analysis import plots
    from kerascnn.analysis.calls import read_calls
    from kerascnn.analysis.fields import effective_receptive_field, find_map, receptive_field

    graph = read_calls(network)
    call = find_map(graph, layer)
    field = receptive_field(network, call.name)
    if not paths:
        return
    height, width = (side or 0 for side in graph.shapes[call.outputs[0]][:2])
    effective = effective_receptive_field(network, call.name, images=images)
    title = f"{network.name}: effective receptive field of {call.name}"
    plots.save(plots.plot_receptive_field(effective, field, (height // 2, width // 2), title), *paths)
