"""What a server would pass over or stumble on among the folders of a model, found without loading anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.artifacts import (
    BASE_PATHS,
    NAME_RULE,
    ServedModel,
    alike,
    find_base_paths,
    find_versions,
    is_name,
    is_saved_model,
    parse_any_version,
    parse_version,
    read_manifest,
)
from serving.contract import EXTRA, MANIFEST_FILE
from serving.contract.checksums import digest_of
from serving.findings import Finding


def find_intended_base_paths(folder: Path) -> dict[str, Path]:
    """Find base paths as `find_base_paths` does, also those whose versions are all unfinished."""
    base_paths = find_base_paths(folder)
    for child in folder.iterdir():
        if not child.is_dir() or child.name.startswith(".") or child in [path.parent for path in base_paths.values()]:
            continue
        if any(parse_version(version.name) is not None and version.is_dir() for version in child.iterdir()):
            base_paths.setdefault(child.name, child)
    return base_paths


def check(name: str, base_path: Path) -> Iterator[Finding]:
    """Find what is wrong with the names of a model and its versions, and with the content of their folders."""
    if not is_name(name):
        what = f"A model cannot be served as {name!r}: {NAME_RULE}"
        yield Finding("error", str(base_path), what, "Rename its folder.")
    versions = find_versions(base_path)
    unused = versions[-1] + 1 if versions else 1
    is_empty = not versions
    for child in sorted(base_path.iterdir()):
        version, taken = parse_version(child.name), parse_any_version(child.name)
        if taken is not None and (version is None or not child.is_dir()):
            what = f"A server takes it for version {taken}, and nothing else does: a version is a folder such as 1."
            yield Finding("error", str(child), what, f"Rename it to {unused}." if child.is_dir() else "Remove it.")
        if not child.is_dir() or child.name.startswith("."):
            continue
        if version is None and is_saved_model(child):
            what = "The folder of a version is named by a whole number such as 1; a server passes over this one."
            if taken is None:
                yield Finding("error", str(child), what, f"Rename it to {unused}.")
            is_empty = False
        elif version is not None and not is_saved_model(child):
            what = "It holds no saved_model.pb, and a server tries to load it all the same."
            what += " It then stays failed, whatever is put there."
            yield Finding("error", str(child), what, "Remove it, and add the version again with: serving promote.")
            is_empty = False
    if is_empty:
        what = "It holds no version: a folder named 1, 2, … with a saved_model.pb in it."
        yield Finding("error", str(base_path), what, "Export the model again, with --saved-model.")
    trained, untrained = alike(base_path)
    if base_path.name == trained and (other := base_path.with_name(untrained)).is_dir():
        yield Finding(
            "warning", str(other), f"It is not served, because {base_path.name} is beside it.", "Remove one of them."
        )


def check_manifest(model: ServedModel) -> Iterator[Finding]:
    """Find versions that are not what their manifest describes, and weights that it says are random."""
    for version in model.versions:
        folder = model.path(version)
        entry = _described(model, version)
        if entry is not None and entry["sha256"] != digest(folder):
            what = "Its files are not those that were exported: the checksum in the manifest is another one."
            yield Finding("error", str(folder), what, "Copy the version again, or export it again.")
    if model.manifest is not None and (model.manifest.get("weights") or {}).get("trained") is False:
        what = "The weights are random: the answers mean nothing."
        yield Finding("warning", str(model.path(model.versions[-1])), what, "Export it with trained weights.")


def digest(folder: Path) -> str:
    """Return the checksum of a version as its manifest has it.

    The manifest that `promote` puts into the folder is left out: it cannot hold its own checksum.
    """
    return digest_of(folder, without=f"{EXTRA}/{MANIFEST_FILE}")


def _described(model: ServedModel, version: int) -> dict[str, Any] | None:
    """Return the entry of a version in the manifest that it came with; None if there is none."""
    manifest = read_manifest(model.path(version) / EXTRA / MANIFEST_FILE)
    paths = [f"{name}/1" for name in alike(model.base_path)]
    if manifest is None and model.base_path.name in BASE_PATHS:
        manifest = read_manifest(model.base_path.parent / MANIFEST_FILE)
        paths = [f"{model.base_path.name}/{version}"]
    entries = (manifest or {}).get("artifacts") or []
    return next((entry for entry in entries if entry.get("path") in paths and "sha256" in entry), None)
