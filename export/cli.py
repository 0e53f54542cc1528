"""The command line: arguments → a plan; progress, table, exit codes.

Exit codes: 0 all done; 1 something failed; 2 what was asked for cannot be done as asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from export.errors import ExportError, RequestError
from export.request import FORMATS, PRECISIONS, Compression, Plan, make_plan
from kerascnn.console import SETTINGS, input_size_option, quiet_with_log, run_command


@click.command(context_settings=SETTINGS)
@click.option(
    "--model", "models", multiple=True, metavar="NAME|PATTERN|FILE.keras|FILE.kdc", help="What to export; repeatable."
)
@click.option("--saved-model", is_flag=True, help="Write a SavedModel (TensorFlow Serving).")
@click.option("--tflite", is_flag=True, help="Write a TFLite file (LiteRT: phones, edge devices).")
@click.option("--onnx", is_flag=True, help="Write an ONNX file.")
@click.option("--all", "every", is_flag=True, help="Write all three formats.")
@click.option(
    "--quantize",
    metavar="LIST",
    default="",
    help=f"More precisions, by commas: {', '.join(PRECISIONS[1:])} for TFLite; int8 for ONNX.",
)
@click.option(
    "--compress", is_flag=True, help="Share weights first, and write a small .kdc file and sparse TFLite files too."
)
@click.option("--prune", type=float, metavar="SHARE", help="With --compress: set this share of the weights to zero.")
@click.option("--bits", type=int, metavar="N", help="With --compress: at most 2^N values a layer, N from 1 to 8.")
@click.option("--target-bytes", type=int, metavar="N", help="With --compress: how large the .kdc file may be.")
@click.option(
    "--weights",
    metavar="auto|none|NAME|PATH",
    default="auto",
    help="auto (default) takes published weights from the cache or the net, and random ones where there are none.",
)
@click.option("--calibration-data", type=click.Path(path_type=Path), metavar="DIR|ZIP", help="Photos for int8 ranges.")
@click.option(
    "--evaluate",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP",
    help="Photos in folders named by class name, WordNet id or index: prints top-1 and top-5 of every artifact.",
)
@input_size_option("Input size in pixels, where the network can take another.")
@click.option("--classes", type=click.IntRange(min=1), help="Number of classes, for untrained networks.")
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Class names, one a line.")
@click.option(
    "--preprocessing",
    metavar="NAME",
    help="How photos are prepared for a .keras file: the weights it was fine-tuned "
    "from, such as squeezenet/imagenet, or none, unit, tf, torch, caffe.",
)
@click.option("--include-preprocessing", is_flag=True, help="Artifacts take RGB 0 to 255 and normalise it themselves.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("artifacts"), show_default=True, metavar="DIR")
@click.option("--opset", type=int, default=17, show_default=True, help="ONNX operator set.")
@click.option("--list", "listing", is_flag=True, help="List the models and their published weights.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (the manifests) instead of tables.")
def command(**options: Any) -> None:
    """Export Keras image models to SavedModel, TFLite and ONNX, each file verified against the model.

    \b
    python -m export --model squeezenet --tflite
    python -m export --model 'resnet*' --all --output artifacts
    python -m export --model squeezenet --compress --tflite --calibration-data photos.zip
    python -m export --model finetuned.keras --tflite --labels labels.txt
    """
    if options["listing"]:
        _print_models(options["models"], options["as_json"])
        return
    jobs = _check(options)
    if options["dry_run"]:
        _print_plan(jobs, options)
        return
    failures = _run(jobs, options)
    if failures:
        raise Failure("\n".join(failures))


def main() -> None:
    """Run the command; every error is one paragraph on standard error and an exit code."""
    run_command(
        command,
        refusals=(RequestError,),
        failures=(ExportError, Failure),
        extra="export",
        stopped="Stopped. Nothing was published.",
    )


class Failure(Exception):
    """One or more of the models failed; the message has a paragraph for each."""


def _check(options: dict[str, Any]) -> list[tuple[str, Path]]:
    """Everything that can be refused without importing TensorFlow; (model, output folder) for each export."""
    from export import publishing
    from export.opening import check_builder_options, expand_names
    from export.request import check_source, read_labels

    plan = _plan(options)
    jobs = [(name, options["output"] / Path(name).stem) for name in expand_names(options["models"])]
    for name, folder in jobs:
        check_builder_options(name, options["weights"], options["input_size"], options["classes"])
        publishing.check_target(folder)
    if plan.needs_calibration and options["calibration_data"] is None:
        raise RequestError(
            "int8, int16x8 and int4 need photos to choose their steps with: give --calibration-data DIR or .zip. 100 "
            "photos like those it will see are plenty."
        )
    if plan.compression is not None:
        own = next((name for name, _ in jobs if name.endswith(".keras")), None)
        if own is not None:
            raise RequestError(
                f"{own} cannot be compressed: a .kdc file says which network of kerascnn it holds, and a .keras file "
                "does not tell. Build it with kerascnn.create_model, load the weights into that, and call "
                "export.export(model, ..., compress=True)."
            )
        if options["calibration_data"] is None:
            raise RequestError(
                "--compress needs photos to measure which weights matter: give --calibration-data DIR or .zip. 100 "
                "photos like those it will see are plenty."
            )
    for what in ("calibration_data", "evaluate"):
        if options[what] is not None:
            from export.images import find_images

            find_images(check_source(options[what], "--" + what.replace("_", "-") + " folder"))
    if options["labels"] is not None:
        read_labels(options["labels"])
    return jobs


def _plan(options: dict[str, Any]) -> Plan:
    formats = [name for name in FORMATS if options["every"] or options[name]]
    extra = [name.strip() for name in options["quantize"].split(",") if name.strip()]
    return make_plan(formats, extra, opset=options["opset"], compression=_compression(options))


def _compression(options: dict[str, Any]) -> Compression | None:
    given = {"sparsity": options["prune"], "bits": options["bits"], "target_bytes": options["target_bytes"]}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not options["compress"]:
        option = {"sparsity": "--prune", "bits": "--bits", "target_bytes": "--target-bytes"}[next(iter(given))]
        raise RequestError(f"{option} says how to compress. Add --compress.")
    return Compression(**given) if options["compress"] else None


def _run(jobs: list[tuple[str, Path]], options: dict[str, Any]) -> list[str]:
    """Export one model after another; a sentence for each that failed."""
    from export.report.progress import progress_on

    os.environ["KERAS_BACKEND"] = "tensorflow"  # SavedModel, TFLite and ONNX all come from TensorFlow's graph
    failures, manifests = [], []
    # Keras announces downloads on standard output, where the table or the JSON will be.
    with (
        quiet_with_log("kerascnn-export-") as (stderr, log),
        contextlib.redirect_stdout(sys.stderr),
        progress_on(stderr) as progress,
    ):
        progress.step("starting TensorFlow")
        from export.stages import Rejected

        for name, folder in jobs:
            try:
                manifest = _export(name, folder, options, progress)
            except Rejected as error:
                failures.append(f"{name}: {error}")
                manifest = error.manifest
            except RequestError:
                raise
            except ExportError as error:
                failures.append(f"{name}: {error}")
                continue
            except Exception as error:
                import traceback

                with log.open("a") as file:
                    traceback.print_exc(file=file)
                raise ExportError(
                    f"{name}: an unexpected {type(error).__name__}: {str(error)[:300]}. Nothing was published. The "
                    f"details are in {log}."
                ) from error
            manifests.append((folder, manifest))
    _print_results(manifests, options["as_json"])
    return failures


def _export(name: str, folder: Path, options: dict[str, Any], progress: Any) -> dict[str, Any]:
    from dataclasses import replace

    from export import opening as models
    from export import stages as pipeline
    from export.job import find_preprocessing
    from export.request import read_labels

    if name.endswith(".keras"):
        progress.step(f"{name}: loading")
        loaded = models.open_file(Path(name))
    else:
        progress.step(f"{name}: building, with its weights from the cache or the net")
        loaded = models.build(
            name,
            weights=options["weights"],
            input_size=options["input_size"],
            classes=options["classes"],
            warn=progress.warn,
        )
    if options["preprocessing"] is not None:
        found = find_preprocessing(loaded.model, options["preprocessing"])
        loaded = replace(loaded, preprocessing=found)
    if options["labels"] is not None:
        loaded = replace(loaded, labels=tuple(read_labels(options["labels"])))
    return pipeline.run(
        loaded,
        folder,
        _plan(options),
        calibration=options["calibration_data"],
        evaluate=options["evaluate"],
        include_preprocessing=options["include_preprocessing"],
        progress=progress,
    )


def _print_results(manifests: list[tuple[Path, dict[str, Any]]], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"folder": str(folder), **manifest} for folder, manifest in manifests], default=list))
        return
    from rich.console import Console

    from export.report import text as report

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for folder, manifest in manifests:
        console.print(report.terminal_table(manifest))
        for note in report.notes(manifest):
            console.print(f"  {note}", style="bold yellow" if note.startswith(("UNTRAINED", "NOT")) else "dim")
        if not (folder / "report.html").exists():
            console.print("  For report.html, with charts: pip install 'kerascnn\\[report]'.", style="dim")
        console.print(f"  Written to {folder}/\n")


def _print_models(patterns: tuple[str, ...], as_json: bool) -> None:
    from export.opening import expand_names
    from kerascnn.registry import list_models, variants

    names = [name for name in (expand_names(patterns) if patterns else list_models()) if name in variants()]
    rows = [variants()[name] for name in names]
    if as_json:
        fields = ("name", "title", "year", "input_shape", "min_size", "parameters", "macs")
        print(
            json.dumps(
                [
                    {**{f: getattr(row, f) for f in fields}, "weights": [record.name for record in row.weights]}
                    for row in rows
                ]
            )
        )
        return
    width = max(len(row.name) for row in rows)
    print(f"{'model':{width}}  {'input':>9}  {'parameters':>11}  {'GMACs':>6}  weights  title")
    for row in rows:
        side = f"{row.input_shape[0]}x{row.input_shape[1]}"
        macs = row.macs[row.input_shape[0]] / 1e9
        weights = ", ".join(record.name for record in row.weights) or "-"
        print(f"{row.name:{width}}  {side:>9}  {row.parameters:>11,}  {macs:6.2f}  {weights:7}  {row.title}")


def _print_plan(jobs: list[tuple[str, Path]], options: dict[str, Any]) -> None:
    from export.opening import weights_state

    plan = _plan(options)
    rows = []
    for name, folder in jobs:
        state, trained = weights_state(name, options["weights"])
        stem = Path(name).stem + ("_untrained" if trained is False else "")
        files = [item.path(stem) for item in plan.items if not item.optional]
        files += [f"{stem}.kdc"] if plan.compression else []
        smaller = [item.path(stem) for item in plan.items if item.optional]
        paths = {"files": files, "files_where_smaller": smaller}
        rows.append({"model": name, "weights": state, **{k: [str(folder / f) for f in v] for k, v in paths.items()}})
    if options["as_json"]:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['model']}: {row['weights']}")
        for path in row["files"]:
            print(f"  would write {path}")
        for path in row["files_where_smaller"]:
            print(f"  would write {path}, where it is smaller than the dense file")
