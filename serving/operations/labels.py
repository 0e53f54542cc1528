"""Which version a label names, in the model config that a server reads again while it runs.

A server moves a label only to a version that it has loaded; a new label may come with its version
(--allow_version_labels_for_unavailable_models). So a version is loaded under a label of its own first, and a label that
clients use moves in a second step. The version that a label had before stays loaded, for the way back.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.artifacts import ServedModel
from serving.configuration import messages, model_config
from serving.configuration.rendering import MODEL_CONFIG
from serving.errors import RequestError, ServingError
from serving.findings import errors

STABLE = model_config.STABLE
CANARY = "canary"
_HISTORY = ".labels.json"
_LOCK = ".labels.lock"


@dataclass(frozen=True)
class LabelFile:
    """A model config that is being changed: `entry` is the model's part of `message`.

    before: {label: the versions that it named before, oldest first; None where there was no such label}.
    """

    path: Path
    message: Any
    entry: Any
    before: dict[str, list[int | None]]
    histories: dict[str, dict[str, list[int | None]]]

    @property
    def labels(self) -> dict[str, int]:
        """{label: version}"""
        return dict(self.entry.version_labels)

    def previous(self, label: str) -> int | None:
        """The version that a label named before; None where it named none."""
        older = self.before.get(label, [])
        return older[-1] if older else None


@contextlib.contextmanager
def editing(config: Path, model: ServedModel) -> Iterator[LabelFile]:
    """The model config in the folder `config`, held against other edits; whoever changes it calls `save`.

    Raises:
        RequestError: there is none, it does not list the model, or somebody else is editing it.
    """
    from filelock import FileLock, Timeout

    path = config / MODEL_CONFIG
    if not path.is_file():
        raise RequestError(f"There is no {path}. Write a configuration with: python -m serving init --output {config}.")
    lock = FileLock(config / _LOCK)
    try:
        lock.acquire(timeout=10)
    except Timeout:
        raise ServingError(f"Somebody else is changing {path}. Run it again when they are done.") from None
    try:
        message = messages.parse(path.read_text(encoding="utf-8"), messages.model_server_config(), str(path))
        entry = next((row for row in message.model_config_list.config if row.name == model.name), None)
        if entry is None:
            raise RequestError(f"{path} does not list {model.name}. Write it again: python -m serving init.")
        histories = _read_histories(config / _HISTORY)
        before = histories.setdefault(model.name, {})
        for label, older in before.items():
            while older and older[-1] == entry.version_labels.get(label):  # a run was killed before it was done
                older.pop()
        yield LabelFile(path, message, entry, before, histories)
    finally:
        lock.release()


def move(file: LabelFile, model: ServedModel, label: str, version: int) -> None:
    """Let `label` name `version`.

    Raises:
        RequestError: there is no such version, or the label is in use and the version is not loaded.
    """
    if version not in model.versions:
        there = ", ".join(map(str, model.versions))
        raise RequestError(f"{model.name} has no version {version}; there are {there}. Nothing was changed.")
    old = file.labels.get(label)
    if old == version:
        return
    if old is not None and version not in model_config.loaded_versions(file.entry, model):
        raise RequestError(
            f"Version {version} of {model.name} is not loaded, and a server moves a label that is in use only to a "
            f"version that is. {_first(label, version)} Nothing was changed."
        )
    file.before.setdefault(label, []).append(old)
    file.entry.version_labels[label] = version
    if label == STABLE and file.labels.get(CANARY) == version:
        del file.entry.version_labels[CANARY]
        file.before.pop(CANARY, None)
    _load_labelled(file)


def move_back(file: LabelFile, model: ServedModel, label: str) -> int | None:
    """Let `label` name what it named before; that version, or None where there was no such label.

    Raises:
        RequestError: it was never moved, or the version before is gone or not loaded.
    """
    current = file.labels.get(label)
    if not file.before.get(label):
        known = ", ".join(f"{name} (version {version})" for name, version in sorted(file.labels.items())) or "none"
        raise RequestError(
            f"The label {label!r} of {model.name} was not moved here before, so there is no way back. The labels are: "
            f"{known}. Move it with: promote --version N."
        )
    old = file.before[label][-1]
    if old is not None and (old not in model.versions or old not in model_config.loaded_versions(file.entry, model)):
        raise RequestError(
            f"Version {old} of {model.name}, which {label!r} named before {current}, is no longer there or not loaded. "
            f"Load it under another label first: promote {model.name} --version {old} --label {CANARY}."
        )
    file.before[label].pop()
    if old is None:
        del file.entry.version_labels[label]
    else:
        file.entry.version_labels[label] = old
    _load_labelled(file)
    return old


def save(file: LabelFile, model: ServedModel) -> None:
    """Write the config with one rename; a server finds the old one or the new one.

    Raises:
        ServingError: it would be wrong, or cannot be written; the old one stays.
    """
    found = errors(model_config.check(file.message, [model], str(file.path)))
    wrong = [finding for finding in found if f"model {model.name}" in finding.where]
    if wrong:
        raise ServingError("The model config is not changed, for it would be wrong:\n" + "\n".join(map(str, wrong)))
    histories = {
        name: {label: rows for label, rows in labels.items() if rows} for name, labels in file.histories.items()
    }
    try:
        # First the history: if this ends here, `editing` sees that its last entry is not a step back.
        _write(file.path.parents[1] / _HISTORY, json.dumps(histories, indent=2, sort_keys=True) + "\n")
        _write(file.path, model_config.to_text(file.message))
    except OSError as error:
        raise ServingError(f"{file.path} cannot be written: {error}. It is as it was.") from error


def _first(label: str, version: int) -> str:
    if label == CANARY:
        return f"Take the label back first: rollback --label {CANARY}."
    return f"Load it under another label first: --version {version} --label {CANARY}."


def _load_labelled(file: LabelFile) -> None:
    """Have the server load what has a label, and what the labels had before."""
    before = [version for version in map(file.previous, file.labels) if version is not None]
    del file.entry.model_version_policy.specific.versions[:]
    file.entry.model_version_policy.specific.versions.extend(sorted({*file.labels.values(), *before}))


def _read_histories(path: Path) -> dict[str, dict[str, list[int | None]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: {label: list(rows) for label, rows in labels.items()} for name, labels in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ServingError(f"{path} cannot be read: {error}. Remove it; then there is no way back to take.") from error


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # the server runs as another user
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
