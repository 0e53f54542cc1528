"""Add a version to a model: it is checked, copied whole, and appears with one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kerascnn.console import quiet
from serving.artifacts import BASE_PATHS, ServedModel, alike, is_saved_model, parse_any_version
from serving.contract import EXTRA, LABELS_FILE, MANIFEST_FILE
from serving.contract.locks import lock_of
from serving.contract.operators import read_saved_model
from serving.errors import RequestError, ServingError
from serving.files import locked, replace_text
from serving.findings import errors
from serving.operations import trial
from serving.operations.folders import digest

_GREATEST = ".greatest-version"  # beside the versions: the greatest number that one of them has had


def add_version(model: ServedModel, source: Path) -> int:
    """Check the SavedModel of the export folder `source`, copy it beside the versions of a model, return its number.

    Raises:
        RequestError: There is no SavedModel in `source`.
        ServingError: A server would not load it, or it could not be copied. Nothing was changed.
    """
    folder, manifest = find_version(source, model)
    _check_version(folder)
    holder = model.base_path.parent if model.base_path.name in BASE_PATHS else model.base_path
    # An export to this folder holds the same lock.
    with locked(lock_of(holder), f"Another run is writing to {holder}."):
        for remains in model.base_path.glob(".*.partial-*"):  # of a run that was killed
            shutil.rmtree(remains, ignore_errors=True)
        version = _unused_number(model.base_path)
        partial = model.base_path / f".{version}.partial-{os.getpid()}"
        try:
            _copy(folder, partial, manifest)
            replace_text(model.base_path / _GREATEST, f"{version}\n")
            os.rename(partial, model.path(version))
        except OSError as error:
            raise ServingError(f"{model.path(version)} could not be written: {error}. Nothing was changed.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return version


def differences(old: Path, new: Path) -> Iterator[str]:
    """Say what clients of the version in `old` would stumble on in the one in `new`, as ends of a sentence."""
    before, after = _signatures(old), _signatures(new)
    for name in sorted(before.keys() - after.keys()):
        yield f"it has no signature {name}."
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield f"its signature {name} takes or gives other tensors: {after[name]}, not {before[name]}."
    paths = [folder / EXTRA / LABELS_FILE for folder in (old, new)]
    labels = [path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths]
    if labels[0] != labels[1]:
        yield "it has other labels."


def find_version(source: Path, model: ServedModel) -> tuple[Path, Path | None]:
    """Find the SavedModel of the precision of `model` in an export folder, and the manifest that describes it.

    Raises:
        RequestError: There is no SavedModel.
    """
    if source.is_dir() and is_saved_model(source):
        return source, None
    names = alike(model.base_path)
    folder = next((source / name / "1" for name in names if is_saved_model(source / name / "1")), None)
    if folder is None:
        raise RequestError(
            f"There is no SavedModel ({names[0]}/1) in {source}. Give the folder of one export, such as "
            "candidates/squeezenet; it is written by: python -m export --model squeezenet --saved-model --output "
            "candidates."
        )
    manifest = source / MANIFEST_FILE
    return folder, manifest if manifest.is_file() else None


def _unused_number(base_path: Path) -> int:
    """Return a number above all that a version has had: a server that failed to load one does not try it again."""
    record = base_path / _GREATEST
    try:
        recorded = int(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = 0
    present = [parse_any_version(child.name) or 0 for child in base_path.iterdir()]
    return max(recorded, *present) + 1


def _check_version(folder: Path) -> None:
    with quiet():
        loaded, findings = trial.load(folder)
        if loaded is not None:
            with trial.trying(folder) as tried:
                findings += trial.check_signatures(folder, loaded.module)
                findings += trial.check_warmup(folder, loaded.module)[1]
                findings += tried()
    if wrong := errors(findings):
        raise ServingError("It is not added, because a server would not serve it:\n" + "\n".join(map(str, wrong)))


def _copy(folder: Path, target: Path, manifest: Path | None) -> None:
    shutil.copytree(folder, target)
    if digest(target) != digest(folder):
        raise OSError("the copy differs from the original; it may have changed meanwhile")
    if manifest is not None:
        (target / EXTRA).mkdir(exist_ok=True)
        shutil.copyfile(manifest, target / EXTRA / MANIFEST_FILE)


def _signatures(folder: Path) -> dict[str, dict[str, str]]:
    with quiet():
        graphs = read_saved_model(folder).meta_graphs
    return {
        name: {
            key: f"{tensor.dtype} {[dim.size for dim in tensor.tensor_shape.dim]}"
            for key, tensor in sorted([*signature.inputs.items(), *signature.outputs.items()])
        }
        for name, signature in graphs[0].signature_def.items()
        if not name.startswith("__")
    }
