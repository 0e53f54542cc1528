"""`python -m serving init`: configuration for exported models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.artifacts import ServedModel, find_models
from serving.commands import options

if TYPE_CHECKING:
    from serving.configuration.publishing import Published


@click.command()
@options.models
@click.option("--only", multiple=True, metavar="NAME", help="Serve this model alone; repeatable.")
@click.option("--gpu", is_flag=True, help="Write the files for an NVIDIA GPU too.")
@click.option("--gpus", type=click.IntRange(0, 16), default=0, metavar="N", help="For N GPUs: a server on each.")
@click.option(
    "--output",
    type=options.PATH,
    default=Path("deploy"),
    show_default=True,
    metavar="DIR",
    help="Where the configuration goes.",
)
@click.option("--force", is_flag=True, help="Write over files that were changed by hand. Keys and .env stay.")
def command(models_folder: Path, only: tuple[str, ...], gpu: bool, gpus: int, output: Path, force: bool) -> None:
    """Write the configuration of TensorFlow Serving for the exported models.

    Model, batching, monitoring and session files, Docker Compose for CPU and GPU, a proxy with TLS and API keys,
    Prometheus, Grafana and Kubernetes. Everything is checked before it is written. Versions and labels that `promote`
    has set stay as they are.

    \b
    python -m serving init --models artifacts/ --gpu
    python -m serving init --models artifacts/ --gpus 4
    python -m serving init --models artifacts/ --only squeezenet --output deploy/squeezenet
    """
    from serving.configuration import writing

    models = writing.choose(find_models(models_folder), only)
    gpus = gpus or int(gpu)
    published = writing.write(models, models_folder, output, gpus=gpus, force=force)
    _report(output, models, published)
    place = "" if output == Path(".") else f"cd {output} && "
    files = "-f compose.yaml -f compose.gpu.yaml " if gpus else ""
    files += "--profile proxy " if gpus > 1 else ""
    print(f"\nCheck:   python -m serving doctor --models {models_folder} --config {output}")
    print(f"Start:   {place}docker compose {files}up -d")
    print(f"Ask:     curl localhost:8501/v1/models/{models[0].name}")
    if ".env" in published.written and not writing.relative_folder(output, models_folder):
        print(f"\nFirst set MODELS_FOLDER in {output / '.env'} to the folder of the exported models.")


def _report(output: Path, models: Sequence[ServedModel], published: Published) -> None:
    names = ", ".join(model.name for model in models)
    print(f"{output}: {len(published.written)} files for {names}")
    if published.removed:
        print(f"Removed, no longer needed: {', '.join(published.removed)}")
    if published.kept:
        print(f"Kept as they are: {', '.join(published.kept)}")
