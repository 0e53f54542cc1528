"""`promote` and `rollback`: a new version beside the one that is served, and which of them clients get.

python -m serving promote squeezenet --from candidates/squeezenet --config deploy   # version 2, under the label canary
python -m serving promote squeezenet --config deploy                               # what was canary becomes stable
python -m serving rollback squeezenet --config deploy                              # stable is what it was before
"""

from __future__ import annotations

from pathlib import Path

import click

from serving.artifacts import ServedModel, check_name, find_base_paths, read_model
from serving.commands import options
from serving.errors import RequestError

_SERVER = click.option(
    "--server", metavar="URL", help="Move a label only if this server has the version ready (http://localhost:8501)."
)


@click.command()
@click.argument("name")
@options.configured_models
@click.option(
    "--from",
    "source",
    type=options.PATH,
    metavar="DIR",
    help="An export of the model, whose SavedModel becomes the next version.",
)
@options.config
@click.option("--label", help="The label to give: canary with --from, otherwise stable.")
@click.option("--version", type=click.IntRange(min=0), help="Which version gets it: canary's by default.")
@_SERVER
def promote(
    name: str,
    models_folder: Path | None,
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
    model = _find(options.find_models_folder(models_folder, config), name)
    if source is None and config is None:
        raise RequestError("Give --from EXPORT to add a version, --config DIR to change a label, or both.")
    if source is not None and version is not None:
        raise RequestError("--from adds the next version, so --version cannot be chosen. Leave one of them out.")
    if config is None and (label is not None or version is not None or server is not None):
        raise RequestError("A label is part of the configuration: give its folder with --config.")
    if source is not None:
        model = _add(model, source, config, label)
        version = model.versions[-1]
    if config is not None:
        _move(model, config, label or ("stable" if source is None else "canary"), version, server)


@click.command()
@click.argument("name")
@options.configured_models
@click.option("--config", type=options.PATH, required=True, metavar="DIR", help="The configuration that init wrote.")
@click.option("--label", default="stable", show_default=True, help="The label to give back.")
@_SERVER
def rollback(name: str, models_folder: Path | None, config: Path, label: str, server: str | None) -> None:
    """Give a label of the model NAME back to the version that had it before.

    That version is still loaded, so the change takes effect as soon as the servers read the configuration again.

    \b
    python -m serving rollback squeezenet --config deploy
    """
    from serving.operations import labels

    model = _find(options.find_models_folder(models_folder, config), name)
    with labels.editing(config, model) as file:
        current = file.labels.get(label)
        version = labels.move_back(file, model, label)
        if version is not None and server is not None:
            labels.check_ready(server, name, version)
        labels.save(file, model)
    if version is None:
        print(f"{name}: the label {label} is gone; it named version {current}")
    else:
        print(f"{name}: {label} names version {version} again, after version {current}")


def _find(folder: Path, name: str) -> ServedModel:
    base_paths = find_base_paths(folder)
    if check_name(name) not in base_paths:
        raise RequestError(
            f"There is no model {name!r} in {folder}; there are: {', '.join(sorted(base_paths)) or 'none'}."
        )
    return read_model(name, base_paths[name])


def _add(model: ServedModel, source: Path, config: Path | None, label: str | None) -> ServedModel:
    """Add the version in the export folder `source`, and return the model with it."""
    from serving.operations import labels
    from serving.operations.adding import add_version, differences, find_version

    if config is not None:
        # Before anything is copied: its label must be free.
        labels.check_free(config, model, label or labels.CANARY)
    newest = model.versions[-1]
    for difference in differences(model.path(newest), find_version(source, model)[0]):
        click.echo(f"WARNING: unlike version {newest}, {difference}", err=True)
    version = add_version(model, source)
    print(f"Version {version} of {model.name} is in {model.path(version)}")
    return read_model(model.name, model.base_path)


def _move(model: ServedModel, config: Path, label: str, version: int | None, server: str | None) -> None:
    """Let `label` name `version`, by default the version of canary."""
    from serving.configuration.tfs import model_config
    from serving.operations import labels

    with labels.editing(config, model) as file:
        before = file.labels.get(label)
        if version is None:
            version = file.labels.get(labels.CANARY)
        if version is None:
            raise RequestError(
                f"No version of {model.name} has the label {labels.CANARY}. Say which one is meant: --version N."
            )
        if before == version:
            raise RequestError(f"The label {label!r} of {model.name} names version {version} already.")
        labels.move(file, model, label, version)
        if before is not None and server is not None:
            labels.check_ready(server, model.name, version)
        labels.save(file, model)
        loaded = ", ".join(map(str, sorted(model_config.loaded_versions(file.entry, model))))
    change = f", before version {before}" if before is not None else ""
    print(f"{model.name}: {label} names version {version}{change}; loaded: {loaded}")
