"""Write the configuration for exported models: render it, check it, publish it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving import findings
from serving.artifacts import ServedModel
from serving.configuration import checking, publishing, rendering
from serving.configuration.tfs import messages
from serving.errors import RequestError, ServingError

if TYPE_CHECKING:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig


def choose(models: Sequence[ServedModel], only: Sequence[str]) -> tuple[ServedModel, ...]:
    """Return the models named in `only`, or all; raise a RequestError if one of the names is not a model."""
    names = [model.name for model in models]
    if unknown := [name for name in only if name not in names]:
        raise RequestError(f"There is no model {unknown[0]!r} to serve; there are {', '.join(names)}.")
    return tuple(model for model in models if not only or model.name in only)


def write(
    models: Sequence[ServedModel], models_folder: Path, output: Path, *, gpus: int, force: bool = False
) -> publishing.Published:
    """Render the configuration, check it, and write it to `output`.

    Args:
        models: The models to serve.
        models_folder: The folder of the exported models.
        output: The folder of the configuration.
        gpus: How many NVIDIA GPUs there are; with one or more, the files for them are written too.
        force: Replace files that were changed by hand.

    Raises:
        RequestError: A file in `output` was changed by hand, or its model config cannot be read.
        ServingError: The files do not pass their own checks. Nothing is written.
    """
    existing = _existing_model_config(output / rendering.MODEL_CONFIG, force=force)
    folder = relative_folder(output, models_folder)
    files = rendering.render(models, gpus=gpus, models_folder=folder, existing=existing)
    if wrong := findings.errors(checking.check_files(files, models, tensorflow=False)):
        raise ServingError("The configuration is wrong, so it is not written:\n" + "\n".join(map(str, wrong)))
    return publishing.publish(output, files, own=rendering.OWN_FILES, merged=(rendering.MODEL_CONFIG,), force=force)


def relative_folder(output: Path, models_folder: Path) -> str:
    """Return the models' folder relative to the configuration; empty unless both are below the working folder."""
    here = Path.cwd().resolve()
    output, models_folder = output.resolve(), models_folder.resolve()
    if not (output.is_relative_to(here) and models_folder.is_relative_to(here)):
        return ""
    relative = Path(os.path.relpath(models_folder, output)).as_posix()
    # Compose takes a path without a leading dot for the name of a volume.
    return relative if relative.startswith(".") else f"./{relative}"


def _existing_model_config(path: Path, *, force: bool) -> ModelServerConfig | None:
    if not path.exists():
        return None
    try:
        return messages.read(path, "ModelServerConfig", "model config")
    except RequestError as error:
        if force:
            return None
        raise RequestError(f"{error} Fix it, or write a new one over it with --force.") from error
