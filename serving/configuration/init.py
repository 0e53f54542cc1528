"""`python -m serving init`: TensorFlow Serving's configuration for what was exported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving import findings
from serving.artifacts import ServedModel, find_models
from serving.errors import RequestError, ServingError

if TYPE_CHECKING:
    from serving.configuration import publishing


@click.command(context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.option(
    "--models",
    "models_folder",
    type=click.Path(path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    metavar="DIR",
    help="The folder that export wrote to.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Serve this model alone; repeatable.")
@click.option("--gpu", is_flag=True, help="Write the files for NVIDIA GPUs too.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("deploy"),
    show_default=True,
    metavar="DIR",
    help="Where the configuration goes.",
)
@click.option("--force", is_flag=True, help="Write over files that were changed by hand. Keys and .env stay.")
def command(models_folder: Path, only: tuple[str, ...], gpu: bool, output: Path, force: bool) -> None:
    """Write the configuration of TensorFlow Serving for the exported models.

    Model, batching, monitoring and session files, Docker Compose for CPU and GPU, a proxy with TLS and API keys,
    Prometheus, Grafana and Kubernetes. Everything is checked before it is written. Versions and labels that `promote`
    has set stay as they are.

    \b
    python -m serving init --models artifacts/ --gpu
    python -m serving init --models artifacts/ --only squeezenet --output deploy/squeezenet
    """
    models = choose(find_models(models_folder), only)
    published = write(models, models_folder, output, gpu=gpu, force=force)
    _report(output, models_folder, models, published, gpu=gpu)


def choose(models: Sequence[ServedModel], only: Sequence[str]) -> tuple[ServedModel, ...]:
    """The models named in `only`, or all.

    Raises:
        RequestError: one of the names is not there.
    """
    there = {model.name: model for model in models}
    if unknown := [name for name in only if name not in there]:
        raise RequestError(f"There is no model {unknown[0]!r} to serve; there are {', '.join(there)}.")
    return tuple(model for model in models if not only or model.name in only)


def write(
    models: Sequence[ServedModel], models_folder: Path, output: Path, *, gpu: bool, force: bool = False
) -> publishing.Published:
    """Render the configuration, check it, and write it to `output`.

    Raises:
        RequestError: a file in `output` was changed by hand (see `force`), or its model config cannot be read.
        ServingError: what was rendered does not pass its own checks; nothing is written.
    """
    from serving.configuration import publishing, rendering
    from serving.operations.validation import check_files

    existing = _existing_model_config(output / rendering.MODEL_CONFIG, force=force)
    folder = _seen_from(output, models_folder)
    files = rendering.render(models, gpu=gpu, models_folder=folder, existing=existing)
    if wrong := findings.errors(check_files(files, models, tensorflow=False)):
        raise ServingError("The configuration is not written, for it is wrong:\n" + "\n".join(map(str, wrong)))
    return publishing.publish(output, files, own=rendering.OWN_FILES, merged=(rendering.MODEL_CONFIG,), force=force)


def _existing_model_config(path: Path, *, force: bool) -> Any | None:
    from serving.configuration import messages

    try:
        text = path.read_text(encoding="utf-8")
        return messages.parse(text, messages.model_server_config(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, RequestError) as error:
        if force:
            return None
        raise RequestError(f"{error} Mend it, or write a new one over it with --force.") from error


def _seen_from(output: Path, models_folder: Path) -> str:
    """The models' folder relative to the configuration; empty where the two do not lie below the working folder."""
    here = Path.cwd().resolve()
    output, models_folder = output.resolve(), models_folder.resolve()
    if not (output.is_relative_to(here) and models_folder.is_relative_to(here)):
        return ""
    relative = Path(os.path.relpath(models_folder, output)).as_posix()
    # Compose takes a path without a dot in front for the name of a volume.
    return relative if relative.startswith(".") else f"./{relative}"


def _report(
    output: Path, models_folder: Path, models: Sequence[ServedModel], published: publishing.Published, *, gpu: bool
) -> None:
    names = ", ".join(model.name for model in models)
    print(f"{output}: {len(published.written)} files for {names}")
    if published.removed:
        print(f"Removed, no longer needed: {', '.join(published.removed)}")
    if published.kept:
        print(f"Kept as they are: {', '.join(published.kept)}")
    place = "" if output == Path(".") else f"cd {output} && "
    files = "-f compose.yaml -f compose.gpu.yaml " if gpu else ""
    print(f"\nCheck:   python -m serving doctor --models {models_folder} --config {output}")
    print(f"Start:   {place}docker compose {files}up -d")
    print(f"Ask:     curl localhost:8501/v1/models/{models[0].name}")
    if ".env" in published.written and not _seen_from(output, models_folder):
        print(f"\nFirst set MODELS_FOLDER in {output / '.env'} to the folder of the exported models.")
