"""The command line: arguments → a request and the models that it is for; progress, table, exit codes.

Exit codes: 0 all done; 1 something failed; 2 what was asked for cannot be done as asked.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from export import printing
from export.errors import ExportError, RequestError
from export.formats.precision import check_trained
from export.images import find_calibration, find_images
from export.options import Options, export_options
from export.quantization.goal import Goal
from export.request import Compression, Request, read_labels
from kerascnn.console import LazyGroup, quiet_with_log, run_command

if TYPE_CHECKING:
    from export.opening import LoadedModel
    from export.report.progress import Progress

_Job = tuple[str, Path]  # what --model says, and the folder that it is exported to


@click.command(
    cls=LazyGroup,
    lazy={
        "unpack": ("export.packing.command:command", "Unpack the packed copy of a .tflite file."),
        "verify": ("export.verifying:command", "Compare the files of an export with its manifest."),
    },
    invoke_without_command=True,
)
@export_options
@click.pass_context
def command(ctx: click.Context, **options: Unpack[Options]) -> None:
    """Export Keras image models to SavedModel, TFLite and ONNX, each file verified against the model.

    \b
    python -m export --model squeezenet --tflite
    python -m export --model 'resnet*' --all --output artifacts
    python -m export --model squeezenet --compress --tflite --calibration-data photos.zip
    python -m export unpack NAME.tflite.kdz
    python -m export verify FOLDER
    python -m export --model mine.keras --tflite --labels labels.txt --resize whole --channels bgr --mean 104,117,124

    In a folder that has an export.py of its own, call kerascnn-export instead of python -m export.
    """
    if ctx.invoked_subcommand:
        return
    if options["listing"]:
        printing.print_models(options["models"], options["as_json"])
        return
    request, jobs = _check(options)
    if options["dry_run"]:
        plans = [(name, folder, _fitted(request, name, options)) for name, folder in jobs]
        printing.print_plan(plans, options["weights"], options["replace"], options["as_json"])
        return
    failures = _run(request, jobs, options)
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


def _check(options: Options) -> tuple[Request, list[_Job]]:
    """Refuse what can be refused without importing TensorFlow."""
    from export import adding, publishing
    from export.choosing import weights_state
    from export.opening import calibration_of, check_builder_options, expand_names

    jobs = [(name, options["output"] / Path(name).stem) for name in expand_names(options["models"])]
    if options["push"] and len(jobs) > 1:
        raise RequestError(f"--push takes the folder of one model; {len(jobs)} were given. Push them one by one.")
    for name, folder in jobs:
        check_builder_options(name, options["weights"], options["input_size"], options["classes"])
        publishing.check_target(folder)
        earlier = None if options["replace"] else adding.find(folder)
        if earlier:
            earlier.check_early(weights_state(name, options["weights"])[1], options["compress"], options["sign"])
    if not all(name.endswith(".keras") for name, _ in jobs):  # a variant is not trained for int8; a file may be
        check_trained(None, _names(options["quantize"]), compresses=False)
    calibration = options["calibration_data"] or calibration_of(options["models"])
    request = Request(
        formats=options["formats"],
        precisions=_names(options["quantize"]),
        web=_web(options),
        apps=_names(options["app"]),
        prove=_names(options["prove"]),
        max_arena=options["max_arena"],
        sign=options["sign"],
        push=options["push"],
        compression=_compression(options),
        goal=_goal(options),
        opset=options["opset"],
        calibration=find_calibration(calibration) if calibration else None,
        evaluation=find_images(options["evaluate"]) if options["evaluate"] else None,
        labels=read_labels(options["labels"]) if options["labels"] else None,
        preprocessing=options["preprocessing"] if options["preprocessing"].given else None,
        include_preprocessing=options["include_preprocessing"],
    )
    return request, jobs


def _fitted(request: Request, name: str, options: Options) -> Request:
    """Fit the request to a saved model, which may not be what it can be carried out for; a variant takes any."""
    if not name.endswith(".keras"):
        return request
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with quiet_with_log("kerascnn-export-"):
        from export.api import fitted
        from export.keras_models import import_modules, open_file

        import_modules(options["modules"])
        return fitted(request, open_file(Path(name), options["input_size"])).request


def _names(text: str) -> list[str]:
    """Read a list by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _web(options: Options) -> bool | Path:
    if options["web_runtimes"] is not None and not options["web"]:
        raise RequestError("--web-runtimes says where the page's JavaScript comes from. Add --web.")
    return options["web_runtimes"] or options["web"]


def _goal(options: Options) -> Goal | None:
    """Read what `auto` has to reach; None where nothing is said of it."""
    drop, size = options["max_drop"], options["target_bytes"]
    if drop is None and (size is None or "auto" not in _names(options["quantize"])):
        return None
    return Goal(drop, size)


def _compression(options: Options) -> Compression | None:
    given = {"--prune": options["prune"], "--bits": options["bits"], "--target-bytes": options["target_bytes"]}
    if "auto" in _names(options["quantize"]) and not options["compress"]:
        del given["--target-bytes"]
    option = next((option for option, value in given.items() if value is not None), None)
    if option is not None and not options["compress"]:
        raise RequestError(f"{option} says how to compress. Add --compress.")
    if not options["compress"]:
        return None
    bits = Compression.bits if options["bits"] is None else options["bits"]
    return Compression(options["prune"], bits, options["target_bytes"])


def _run(request: Request, jobs: list[_Job], options: Options) -> list[str]:
    """Export one model after another.

    Returns:
        A sentence for each that failed.
    """
    from export.report.progress import progress_on

    # Where TensorFlow does not choose oneDNN by itself, it fails on grouped convolutions that it has fused.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # SavedModel, TFLite and ONNX all come from TensorFlow's graph
    failures, manifests = [], []
    # Keras announces downloads on standard output, where the table or the JSON will be.
    with (
        quiet_with_log("kerascnn-export-") as (stderr, log),
        contextlib.redirect_stdout(sys.stderr),
        progress_on(stderr) as progress,
    ):
        progress.step("starting TensorFlow")
        from export.api import Rejected, run

        for name, folder in jobs:
            try:
                manifest = run(request, _open(name, options, progress), folder, progress, replace=options["replace"])
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
    printing.print_results(manifests, options["as_json"])
    return failures


def _open(name: str, options: Options, progress: Progress) -> LoadedModel:
    from export import keras_models, opening

    if name.endswith(".keras"):
        progress.step(f"{name}: loading")
        keras_models.import_modules(options["modules"])
        return keras_models.open_file(Path(name), options["input_size"])
    progress.step(f"{name}: building, with its weights from the cache or the net")
    return opening.build(
        name,
        weights=options["weights"],
        input_size=options["input_size"],
        classes=options["classes"],
        warn=progress.warn,
    )
