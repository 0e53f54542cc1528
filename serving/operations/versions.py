"""`promote` and `rollback`: a new version beside the one that is served, and which of them clients get.

python -m serving promote squeezenet --from candidates/squeezenet --config deploy   # version 2, under the label canary
python -m serving promote squeezenet --config deploy                               # what was canary becomes stable
python -m serving rollback squeezenet --config deploy                              # stable is what it was before
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import click

from serving.artifacts import ServedModel, check_name, find_base_path, read_model
from serving.errors import RequestError, ServingError

_SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}
_NAME = click.argument("name")
_MODELS = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    metavar="DIR",
    help="The folder whose models are served.",
)
_SERVER = click.option(
    "--server", metavar="URL", help="Move a label only if this server has the version ready (http://localhost:8501)."
)


@click.command(context_settings=_SETTINGS)
@_NAME
@_MODELS
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An export of the model, whose SavedModel becomes the next version.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="DIR", help="The configuration that init wrote.")
@click.option("--label", help="The label to give: canary with --from, otherwise stable.")
@click.option("--version", type=click.IntRange(min=0), help="Which version gets it: canary's by default.")
@_SERVER
def promote(
    name: str,
    models: Path,
    source: Path | None,
    config: Path | None,
    label: str | None,
    version: int | None,
    server: str | None,
) -> None:
    """Add a version to the model NAME, or give a version a label.

    A new version is checked first, is copied beside the others, and appears with one rename; the export folder stays.
    It is loaded beside the version in use, under the label canary. The same command without --from then lets stable
    name it. Servers read the configuration again while they run.

    \b
    python -m serving promote squeezenet --from candidates/squeezenet --config deploy
    python -m serving promote squeezenet --config deploy
    python -m serving promote squeezenet --config deploy --label canary --version 1
    """
    model = _find(models, name)
    if source is None and config is None:
        raise RequestError("Give --from EXPORT to add a version, --config DIR to change a label, or both.")
    if source is not None and version is not None:
        raise RequestError("--from adds the next version, so --version cannot be chosen. Leave one of them out.")
    if config is None and (label is not None or version is not None or server is not None):
        raise RequestError("A label lies in the configuration: give its folder with --config.")
    if config is not None:
        _check_config(config, model, source, label)
    if source is not None:
        from serving.operations.adding import add_version, differences, find_version

        for difference in differences(model.path(model.versions[-1]), find_version(source)[0]):
            click.echo(f"WARNING: unlike version {model.versions[-1]}, {difference}", err=True)
        version = add_version(model, source)
        model = read_model(name, model.base_path)
        print(f"Version {version} of {name} is in {model.path(version)}")
    if config is not None:
        _label(model, config, label, version, server, new=source is not None)


@click.command(context_settings=_SETTINGS)
@_NAME
@_MODELS
@click.option(
    "--config", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The configuration that init wrote."
)
@click.option("--label", default="stable", show_default=True, help="The label to give back.")
@_SERVER
def rollback(name: str, models: Path, config: Path, label: str, server: str | None) -> None:
    """Give a label of the model NAME back to the version that had it before.

    That version is still loaded, so that the change takes effect as soon as the servers read the configuration again.

    \b
    python -m serving rollback squeezenet --config deploy
    """
    from serving.operations import labels

    model = _find(models, name)
    with labels.editing(config, model) as file:
        current = file.labels.get(label)
        version = labels.move_back(file, model, label)
        if version is not None:
            _check_server(server, name, version)
        labels.save(file, model)
    if version is None:
        print(f"{name}: the label {label} is gone; it named version {current}")
    else:
        print(f"{name}: {label} names version {version} again, after version {current}")


def _find(models: Path, name: str) -> ServedModel:
    base_path = find_base_path(models / check_name(name)) if models.is_dir() else None
    if base_path is None:
        there = sorted(child.name for child in models.iterdir() if find_base_path(child)) if models.is_dir() else []
        raise RequestError(f"There is no model {name!r} in {models}; there are: {', '.join(there) or 'none'}.")
    return read_model(name, base_path)


def _check_config(config: Path, model: ServedModel, source: Path | None, label: str | None) -> None:
    """Refuse, before anything is copied, what could only be refused after it."""
    from serving.operations import labels

    with labels.editing(config, model) as file:
        taken = source is not None and file.labels.get(label or labels.CANARY)
    if taken and label not in (None, labels.CANARY):
        raise RequestError(
            f"The label {label!r} is in use, and a server cannot move it to a version that it has yet to load. Add "
            f"the version under {labels.CANARY} (leave --label out), and move {label!r} then."
        )
    if taken:
        raise RequestError(
            f"{labels.CANARY} names version {taken} of {model.name}. Promote that, or take the label back first: "
            f"rollback {model.name} --label {labels.CANARY}."
        )


def _label(
    model: ServedModel, config: Path, label: str | None, version: int | None, server: str | None, *, new: bool
) -> None:
    from serving.configuration import model_config
    from serving.operations import labels

    label = label or (labels.CANARY if new else labels.STABLE)
    with labels.editing(config, model) as file:
        old = file.labels.get(label)
        if version is None:
            version = file.labels.get(labels.CANARY)
            if version is None:
                raise RequestError(
                    f"No version of {model.name} has the label {labels.CANARY}. Say which one is meant: --version N."
                )
        if old == version:
            raise RequestError(f"The label {label!r} of {model.name} names version {version} already.")
        labels.move(file, model, label, version)
        if old is not None:
            _check_server(server, model.name, version)
        labels.save(file, model)
        loaded = ", ".join(map(str, sorted(model_config.loaded_versions(file.entry, model))))
    was = f", before version {old}" if old is not None else ""
    print(f"{model.name}: {label} names version {version}{was}; loaded: {loaded}")


def _check_server(server: str | None, name: str, version: int) -> None:
    """Refuse to move a label where the server, if one is named, has not the version ready."""
    if server is None:
        return
    url = f"{server.rstrip('/')}/v1/models/{name}/versions/{version}"
    if not url.startswith(("http://", "https://")):
        raise RequestError(f"--server is a URL such as http://localhost:8501; it is {server!r}.")
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            states = [row["state"] for row in json.load(reply)["model_version_status"]]
    except urllib.error.HTTPError as error:
        states = [f"unknown to it (HTTP {error.code})"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServingError(f"{url} does not answer: {error}. The label was not moved.") from error
    if states != ["AVAILABLE"]:
        raise ServingError(
            f"Version {version} of {name} is not ready on {server}: {', '.join(states)}. A server reads its "
            "configuration every 30 seconds and then loads. The label was not moved; run it again."
        )
