"""`python -m serving init`: configuration for exported models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.artifacts import find_models
from serving.commands import options

if TYPE_CHECKING:
    from serving.configuration.publishing import Published


@click.command()
@options.models
@click.option("--only", multiple=True, metavar="NAME", help="Serve this model alone; repeatable.")
@click.option("--gpu", is_flag=True, help="Write the files for an NVIDIA GPU too.")
@click.option(
    "--server",
    type=click.Choice(["tensorflow-serving", "triton"]),
    default="tensorflow-serving",
    show_default=True,
    help="triton serves the ONNX files.",
)
@click.option("--gpus", type=click.IntRange(0, 16), default=0, metavar="N", help="For N GPUs: a server on each.")
@click.option(
    "--output",
    type=options.PATH,
    metavar="DIR",
    help="Where the configuration goes.  [default: deploy, or deploy-triton]",
)
@click.option("--force", is_flag=True, help="Write over files that were changed by hand. Keys and .env stay.")
def command(
    models_folder: Path, only: tuple[str, ...], gpu: bool, server: str, gpus: int, output: Path | None, force: bool
) -> None:
    """Write the configuration of TensorFlow Serving, or of Triton, for the exported models.

    Model, batching, monitoring and session files, Docker Compose for CPU and GPU, a proxy with TLS and API keys,
    Prometheus, Grafana and Kubernetes. Everything is checked before it is written. Versions and labels that `promote`
    has set stay as they are. For Triton: a model repository with the ONNX files, Docker Compose, Prometheus, Grafana
    and Kubernetes.

    \b
    python -m serving init --models artifacts/ --gpu
    python -m serving init --models artifacts/ --gpus 4
    python -m serving init --models artifacts/ --only squeezenet --output deploy/squeezenet
    python -m serving init --models artifacts/ --server triton --gpu
    """
    from serving.configuration import writing

    gpus = gpus or int(gpu)
    if server == "triton":
        _write_triton(models_folder, only, output or Path("deploy-triton"), gpus, force)
        return
    output = output or Path("deploy")
    models = writing.choose(find_models(models_folder), only)
    published = writing.write(models, models_folder, output, gpus=gpus, force=force)
    _report(output, [model.name for model in models], published)
    place = "" if output == Path(".") else f"cd {output} && "
    files = "-f compose.yaml -f compose.gpu.yaml " if gpus else ""
    files += "--profile proxy " if gpus > 1 else ""
    print(f"\nCheck:   python -m serving doctor --models {models_folder} --config {output}")
    print(f"Start:   {place}docker compose {files}up -d")
    print(f"Ask:     curl localhost:8501/v1/models/{models[0].name}")
    if ".env" in published.written and not writing.relative_folder(output, models_folder):
        print(f"\nFirst set MODELS_FOLDER in {output / '.env'} to the folder of the exported models.")


def _write_triton(models_folder: Path, only: Sequence[str], output: Path, gpus: int, force: bool) -> None:
    from serving.configuration.triton import repository, writing

    models = writing.choose(repository.find_onnx(models_folder), only)
    published = writing.write(models, output, gpus=gpus, force=force)
    _report(output, [model.name for model in models], published)
    files = "-f compose.yaml -f compose.gpu.yaml " if gpus else ""
    print(f"\nCheck:   python -m serving doctor --config {output}")
    print(f"Start:   cd {output} && docker compose {files}up -d")
    print(f"Try it:  python -m serving dev --repository {output / repository.FOLDER} --rest-port 8000")
    print(f"Ask:     python -m serving client --url http://127.0.0.1:8000/v2 --model {models[0].name} photo.jpg")


def _report(output: Path, names: Sequence[str], published: Published) -> None:
    print(f"{output}: {len(published.written)} files for {', '.join(names)}")
    if published.removed:
        print(f"Removed, no longer needed: {', '.join(published.removed)}")
    if published.kept:
        print(f"Kept as they are: {', '.join(published.kept)}")
