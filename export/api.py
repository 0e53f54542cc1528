"""The call from Python, and what it shares with the command line: carrying out a request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import adding, publishing, pushing, stages
from export.attempts import reasons
from export.classifying import check_suits
from export.context import Context
from export.errors import ExportError
from export.formats.format import OPSET
from export.formats.precision import check_trained
from export.formats.registry import FORMATS
from export.general.network import is_general
from export.general.stages import fit
from export.general.stages import make as make_general
from export.images import find_calibration, find_images
from export.job import Job, make_job, refuse_recurrent
from export.keras_models import exportable
from export.manifest import Failure
from export.opening import LoadedModel, origin_of
from export.quantization.goal import Goal
from export.report.progress import Progress, Silent
from export.request import Compression, Request, read_labels
from kerascnn.keras_graph import all_layers
from kerascnn.photos.choosing import PreprocessingChoice

if TYPE_CHECKING:
    import keras
    import numpy as np

    from kerascnn.photos.preprocessing import Preprocessing


def export(
    model: keras.Model,
    output: str | Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    precisions: Sequence[str] = (),
    calibration: np.ndarray | Mapping[str, np.ndarray] | str | Path | None = None,
    evaluate: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    preprocessing: Preprocessing | str | None = None,
    include_preprocessing: bool = False,
    input_size: tuple[int, int] | None = None,
    opset: int = OPSET,
    compress: bool | Compression = False,
    goal: Goal | None = None,
    web: bool | str | Path = False,
    apps: Collection[str] = (),
    prove: Collection[str] = (),
    max_arena: int | None = None,
    sign: str | Path | None = None,
    push: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Export a functional Keras model, verify every artifact against it, and publish the folder.

    Args:
        model: The model; one that kerascnn built brings its preprocessing and class names.
        output: The folder to make, after which the artifacts are named where the model has no name of its own. Where
            it holds an export of the same network, artifacts are added, and those of the same name are replaced.
        formats: Any of "saved_model", "tflite" and "onnx".
        precisions: More files, beside the float32 ones: of "float16", "dynamic", "int8", "int8-io", "int16x8",
            "int4", "auto", "sparse-float16", "sparse-dynamic" and "sparse-int8" for TFLite; of "float16", "int8" and
            "int8-symmetric" for ONNX; of "float16" and "bfloat16" for SavedModels. A network that was trained for int8
            (`export.compression.quantize_aware`) takes "int8", "int8-io", "int8x4" and "sparse-int8" alone; it needs no
            calibration and gets no float32 files.
        calibration: For int8: a folder or .zip of photos, or float32 inputs [n, height, width, channels] as the
            artifact will take them; for several inputs a dictionary of arrays by name.
        evaluate: A folder or .zip of photos in folders named by class name, WordNet id or class index.
        labels: Class names in the order of the outputs, or a file with one a line.
        preprocessing: How photos are prepared: a `Preprocessing`, the name of weights such as "squeezenet/imagenet",
            one of `NORMALIZATIONS` there, or a .json file of its fields. Needed with photos where the model does not
            bring it.
        include_preprocessing: Put channel order, mean and scale into the artifacts, which then take RGB 0 to 255.
        input_size: (height, width) for a model that takes images of any size.
        opset: ONNX operator set.
        compress: Make the network smaller first, and write a .kdc file beside the artifacts, and sparse .tflite files
            where they are smaller; the model itself is left as it was. Needs `calibration`. True, or
            `export.request.Compression` to say how.
        goal: What the precision "auto" has to reach.
        web: Make a page that runs the .tflite and .onnx files in a browser, from any static host. Its JavaScript
            runtimes come from npm, or from the folder that is named here instead of True.
        apps: Write projects of apps that classify photos with the .tflite files: any of "android" and "ios".
        prove: Further runtimes to prove the artifacts in: any of `export.proving.provers.PROVERS`, or "all" of them. An
            artifact that answers wrongly in one of them is not published.
        max_arena: With "micro" in `prove`: how many bytes of memory an int8 or int8-io file may need in TFLite Micro.
            One that needs more is not published.
        sign: The private key to sign the folder with, a PEM file, see docs/signing.md.
        push: The repository on the Hugging Face hub, OWNER/NAME, that the folder is uploaded to once all of it passed.
        replace: Start the folder anew, whatever was exported to it.

    Returns:
        The manifest that was written.

    Raises:
        RequestError: What was asked for cannot be done as asked; nothing was written.
        ExportError: Something failed. Artifacts that passed are published nonetheless, and the message says so.
    """
    request = Request(
        formats=formats,
        precisions=precisions,
        compression=Compression() if compress is True else compress or None,
        goal=goal,
        opset=opset,
        calibration=find_calibration(calibration) if isinstance(calibration, str | Path) else calibration,
        evaluation=find_images(evaluate) if evaluate is not None else None,
        labels=_labels(labels),
        preprocessing=PreprocessingChoice(preprocessing) if isinstance(preprocessing, str) else preprocessing,
        include_preprocessing=include_preprocessing,
        web=Path(web) if isinstance(web, str) else web,
        apps=apps,
        prove=prove,
        max_arena=max_arena,
        sign=Path(sign) if sign is not None else None,
        push=push,
        trained=_trained_bits(model) is not None,
    )
    return run(request, _loaded(model, Path(output), input_size), Path(output), replace=replace)


def _labels(given: Sequence[str] | str | Path | None) -> tuple[str, ...] | None:
    """Read the labels where a file of them is given."""
    return tuple(read_labels(Path(given)) if isinstance(given, str | Path) else given) if given is not None else None


def _loaded(model: keras.Model, output: Path, input_size: tuple[int, int] | None) -> LoadedModel:
    """Name the model, after the folder where it has no name of its own, and find what it knows."""
    from kerascnn.photos.preprocessing import known_preprocessing

    model = exportable(model, input_size)
    origin, labels = origin_of(model)
    if re.fullmatch(r"(functional|sequential)(_\d+)?", origin.name):  # Keras's own, another one in each process
        origin = dataclasses.replace(origin, name=output.resolve().name)
    return LoadedModel(model, origin, known_preprocessing(model), labels)


def _trained_bits(model: keras.Model) -> int | None:
    """Return the bits of a weight in a model that was trained for int8; None for other models."""
    import keras

    from kerascnn.layers import trained_bits

    return trained_bits(model) if isinstance(model, keras.Model) else None  # what is no model is refused elsewhere


def fitted(request: Request, loaded: LoadedModel) -> Job:
    """Fit a request to a model.

    Raises:
        RequestError: They do not go together.
    """
    bits = _trained_bits(loaded.model)
    check_trained(bits, request.precisions, request.compression is not None)
    if bits is not None:
        request = dataclasses.replace(request, trained=True)
    if is_general(loaded.model):
        job = fit(request, loaded)
    else:
        refuse_recurrent(request, loaded)
        job = make_job(request, loaded)
    if request.web:
        check_suits(job, "--web", "a page")
    if request.apps:
        check_suits(job, "--app", "an app")
    return job


class Rejected(ExportError):
    """Some artifacts failed, or were not pushed; `manifest` describes those that were published."""

    def __init__(self, message: str, manifest: dict[str, Any]):
        super().__init__(message)
        self.manifest = manifest


def run(
    request: Request, loaded: LoadedModel, target: Path, progress: Progress | None = None, *, replace: bool = False
) -> dict[str, Any]:
    """Carry out a request.

    Args:
        request: What is asked for.
        loaded: The model.
        target: The folder to make or to add to.
        progress: Told of each stage.
        replace: Start the folder anew.

    Returns:
        The manifest that was written.

    Raises:
        RequestError: The request does not fit the model; nothing was written.
        ExportError: Something failed. Artifacts that passed are published nonetheless, and the message says so.
    """
    progress = progress or Silent()
    general = is_general(loaded.model)
    job = fitted(request, loaded)
    _say_what_changes(job, progress)
    model, original = job.loaded.model, None
    if request.compression is not None:
        from export.compression import coding

        coding.check(job)
        original = model.get_weights()
    publishing.check_space(target, int(1.2 * 4 * model.count_params() * len(request.items)) + 10_000_000)
    try:
        with publishing.staging(target, waiting=progress.step) as folder:
            earlier = None if replace else adding.find(target)
            make = make_general if general else stages.make
            manifest = make(Context(job, folder, progress, earlier))
            progress.step(f"{job.name}: publishing")
            publishing.publish(folder, target)
    except OSError as error:
        if publishing.disk_full(error):
            raise ExportError(
                f"The disk of {target} is full. Nothing was published; free some space and run it again."
            ) from error
        raise ExportError(f"{target} could not be written: {error}. Nothing was published.") from error
    finally:
        if original is not None:
            model.set_weights(original)
    if manifest["rejected"]:
        failed = reasons(Failure(**row) for row in manifest["rejected"])
        unpushed = " Nothing was pushed." if request.push else ""
        raise Rejected(f"{failed} What failed was not published; the rest is in {target}.{unpushed}", manifest)
    if request.push is not None:
        progress.step(f"{job.name}: pushing to {request.push}")
        try:
            pushing.push(target, request.push)
        except ExportError as error:
            raise Rejected(str(error), manifest) from error
    return manifest


def _say_what_changes(job: Job, progress: Progress) -> None:
    """Say where the preprocessing is scaled to another input, and where a model in mixed precision is not kept so."""
    choice, model = job.request.preprocessing, job.loaded.model
    note = choice.scaled(model.inputs[0].shape[1:]) if isinstance(choice, PreprocessingChoice) else None
    if note:
        progress.warn(f"{job.name}: {note}")
    half = next((layer for layer in all_layers(model) if layer.compute_dtype in ("float16", "bfloat16")), None)
    if half is not None:
        progress.note(f"{job.name}: {half.name} computes in {half.compute_dtype}; artifacts are made in float32")
