"""Write Triton's configuration: render it, check it, publish it, and copy the ONNX files into the repository."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from serving import findings
from serving.configuration import publishing
from serving.configuration.rendering import MODEL_CONFIG, templates
from serving.configuration.triton import checking, dashboard, repository
from serving.errors import RequestError, ServingError

VERSION = "25.10"  # of the image; newer ones read the same configuration
OWN_FILES = (".env",)
FLAGS = (
    "--model-repository=/repository",
    # What is written is what counts: nothing is guessed from the ONNX files.
    "--disable-auto-complete-config",
    # One model that does not load ends the server at its start, so that nobody finds out from users.
    "--exit-on-error=true",
    "--exit-timeout-secs=30",
)
_GIB = 2**30
_HIDDEN = {"environment": ".env"}
_PROVISIONING = "grafana/provisioning"
_COMMON = (f"{_PROVISIONING}/dashboards/dashboards.yaml", f"{_PROVISIONING}/datasources/prometheus.yaml")


def choose(models: Sequence[repository.OnnxModel], only: Sequence[str]) -> tuple[repository.OnnxModel, ...]:
    """Return the models named in `only`, or all; raise a RequestError if one of the names is not a model."""
    names = [model.name for model in models]
    if unknown := [name for name in only if name not in names]:
        raise RequestError(f"There is no model {unknown[0]!r} to serve; there are {', '.join(names)}.")
    return tuple(model for model in models if not only or model.name in only)


def write(
    models: Sequence[repository.OnnxModel], output: Path, *, gpus: int, force: bool = False
) -> publishing.Published:
    """Render the configuration, check it, and write it to `output` with the ONNX files.

    Args:
        models: The models to serve.
        output: The folder of the configuration.
        gpus: How many NVIDIA GPUs there are; with one or more, the files for them are written too.
        force: Replace files that were changed by hand.

    Raises:
        RequestError: `output` is another server's configuration, or a file in it was changed by hand.
        ServingError: The files do not pass their own checks, or cannot be written.
    """
    if (output / MODEL_CONFIG).exists():
        raise RequestError(f"{output} is a configuration of TensorFlow Serving. Give another --output.")
    files = render(models, gpus=gpus)
    if wrong := findings.errors(checking.check_files(files)):
        raise ServingError("The configuration is wrong, so it is not written:\n" + "\n".join(map(str, wrong)))
    published = publishing.publish(output, files, own=OWN_FILES, merged=(), force=force)
    try:
        for model in models:
            _copy(model.path, output / repository.FOLDER / model.name / repository.MODEL)
        _remove_others(output / repository.FOLDER, {model.name for model in models})
    except OSError as error:
        raise ServingError(f"The ONNX files could not be copied to {output}: {error}.") from error
    return published


def render(models: Sequence[repository.OnnxModel], *, gpus: int) -> dict[str, str]:
    """Render every text file of the configuration: {path relative to the folder: content}."""
    files = repository.files(tuple(models), gpu=gpus > 0)
    files["grafana/dashboards/triton.json"] = dashboard.build(gpu=gpus > 0)
    weights = sum(model.path.stat().st_size for model in models)
    values = {
        "models": models,
        "flags": FLAGS,
        "gpu": gpus > 0,
        "gpus": gpus,
        "version": VERSION,
        # The server, the weights, and the activations of the largest batch of each; a place to start from.
        "memory": f"{2 + 2 * -(-weights // _GIB) + len(models)}Gi",
        "storage": f"{1 + 2 * -(-weights // _GIB)}Gi",
        "queue": repository.QUEUE,
        "password": secrets.token_urlsafe(16),
    }
    environment = templates("serving.configuration.triton")
    for template in environment.list_templates(extensions=["jinja"]):
        path = template.removesuffix(".jinja")
        if gpus > 0 or path != "compose.gpu.yaml":
            files[_HIDDEN.get(path, path)] = environment.get_template(template).render(values)
    common = templates("serving.configuration")
    for path in _COMMON:
        files[path] = common.get_template(f"{path}.jinja").render()
    return files


def _copy(source: Path, target: Path) -> None:
    """Put a file in place with one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove the ONNX files of models that are no longer configured; the server would stop at them."""
    for child in folder.iterdir():
        if child.name not in names and child.is_dir() and not (child / repository.CONFIG).exists():
            (child / repository.MODEL).unlink(missing_ok=True)
            for path in ((child / repository.MODEL).parent, child):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
