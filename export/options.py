"""The options of the command line, and what it is called with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import click

from export.app.project import PLATFORMS
from export.formats.format import OPSET
from export.formats.registry import FORMATS
from export.proving.provers import PROVERS
from kerascnn.console import input_size_option
from kerascnn.photos.choosing import PreprocessingChoice, preprocessing_options

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Decorator = Callable[[Any], Any]


class Options(TypedDict):
    """What the command line was called with."""

    models: tuple[str, ...]
    formats: list[str]
    quantize: str
    compress: bool
    prune: float | None
    bits: int | None
    target_bytes: int | None
    web: bool
    web_runtimes: Path | None
    app: str
    prove: str
    max_arena: int | None
    max_drop: float | None
    weights: str
    calibration_data: Path | None
    evaluate: Path | None
    input_size: tuple[int, int] | None
    classes: int | None
    labels: Path | None
    modules: tuple[str, ...]
    preprocessing: PreprocessingChoice
    include_preprocessing: bool
    output: Path
    sign: Path | None
    push: str | None
    replace: bool
    opset: int
    listing: bool
    dry_run: bool
    as_json: bool


def _format_options(command: _Command) -> _Command:
    """Add an option for each format, and one for all of them; the command gets their names as `formats`."""

    def collect(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        names = ctx.params.setdefault("formats", [])
        if given:
            names += list(FORMATS) if param.name == "all" else [param.name]

    options = [(format.option, format.help) for format in FORMATS.values()]
    for option, text in reversed([*options, ("--all", "Write all formats.")]):
        command = click.option(option, is_flag=True, expose_value=False, callback=collect, help=text)(command)
    return command


def _more_precisions() -> str:
    """List the precisions beside float32, format by format."""
    return "; ".join(
        f"{', '.join(precision.name for precision in format.precisions[1:])} for {format.title}"
        for format in FORMATS.values()
        if len(format.precisions) > 1
    )


# What is written.
_ARTIFACTS: tuple[_Decorator, ...] = (
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME|PATTERN|FILE.keras|FILE.kdc|RUN",
        help="What to export; RUN is the folder of a training. Repeatable.",
    ),
    _format_options,
    click.option("--quantize", metavar="LIST", default="", help=f"More precisions, by commas: {_more_precisions()}."),
    click.option(
        "--compress", is_flag=True, help="Share weights first, and write a small .kdc file and sparse TFLite files too."
    ),
    click.option(
        "--prune", type=float, metavar="SHARE", help="With --compress: set this share of the weights to zero."
    ),
    click.option("--bits", type=int, metavar="N", help="With --compress: at most 2^N values a layer, N from 1 to 8."),
    click.option(
        "--target-bytes",
        type=int,
        metavar="N",
        help="With --compress: how large the .kdc file may be. With --quantize auto: how large that file may be.",
    ),
    click.option(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="With --quantize auto: how many points of top-1 it may lose on photos held back. Default: 1.",
    ),
    click.option("--web", is_flag=True, help="Write a page that runs the TFLite and ONNX files in a browser."),
    click.option(
        "--web-runtimes",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="With --web: a node_modules folder with the JavaScript runtimes, instead of npm.",
    ),
    click.option(
        "--app",
        metavar="LIST",
        default="",
        help=f"Write projects of apps that run the TFLite files, by commas: {', '.join(PLATFORMS)}.",
    ),
    click.option(
        "--prove",
        metavar="LIST",
        default="",
        help=f"Further runtimes to prove artifacts in, by commas: {', '.join(PROVERS)}, or all.",
    ),
    click.option(
        "--max-arena",
        type=int,
        metavar="BYTES",
        help="With --prove micro: refuse int8 and int8-io files that need a larger arena in TFLite Micro.",
    ),
)
# What it is made from.
_SOURCES: tuple[_Decorator, ...] = (
    click.option(
        "--weights",
        metavar="auto|none|NAME|PATH",
        default="auto",
        help="auto (default) takes published weights: from the package or the cache, else from the net; random ones "
        "only for networks that have none. With auto,none random ones also replace those that cannot be fetched.",
    ),
    click.option(
        "--calibration-data",
        type=click.Path(path_type=Path),
        metavar="DIR|ZIP|NPZ",
        help="Photos for int8 ranges; or an .npz of the inputs by name.",
    ),
    click.option(
        "--evaluate",
        type=click.Path(path_type=Path),
        metavar="DIR|ZIP",
        help="Photos in folders named by class name, WordNet id or index: prints top-1 and top-5 of every artifact.",
    ),
    input_size_option("Input size in pixels, where the network can take another."),
    click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        help="Import what a .keras file's own layers are defined in.",
    ),
    click.option("--classes", type=click.IntRange(min=1), help="Number of classes, for untrained networks."),
    click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Class names, one a line."),
    click.option(
        "--include-preprocessing", is_flag=True, help="Artifacts take RGB 0 to 255 and normalize it themselves."
    ),
)
# Where it is written, and what is said of it.
_OUTPUT: tuple[_Decorator, ...] = (
    click.option(
        "--output", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True, metavar="DIR"
    ),
    click.option(
        "--replace", is_flag=True, help="Start the folders of the models anew; without it artifacts are added."
    ),
    click.option(
        "--sign",
        type=click.Path(path_type=Path),
        metavar="KEY.pem",
        help="Sign the folder with this private key; `verify --key` checks it.",
    ),
    click.option(
        "--push",
        metavar="OWNER/NAME",
        help="Upload the folder to this repository of the Hugging Face hub.",
    ),
    click.option("--opset", type=int, default=OPSET, show_default=True, help="ONNX operator set."),
    click.option("--list", "listing", is_flag=True, help="List the models and their published weights."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON (the manifests) instead of tables."),
    preprocessing_options,
)


def export_options(command: _Command) -> _Command:
    """Give a command the options that say what to export; it gets the fields of `Options`."""
    for option in reversed((*_ARTIFACTS, *_SOURCES, *_OUTPUT)):
        command = option(command)
    return command
