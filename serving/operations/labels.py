"""Which version a label names, in the model config that a server reads again while it runs.

A server moves a label only to a version that it has loaded; a new label may come with its version
(--allow_version_labels_for_unavailable_models). A version is therefore loaded under a label of its own first, and a
label that clients use moves in a second step. The version that a label named before stays loaded, for a rollback.
"""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.artifacts import ServedModel
from serving.configuration.rendering import MODEL_CONFIG
from serving.configuration.tfs import messages, model_config
from serving.errors import RequestError, ServingError
from serving.files import locked, replace_text
from serving.findings import errors

if TYPE_CHECKING:
    from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

Histories = dict[str, dict[str, list[int | None]]]
STABLE = model_config.STABLE
CANARY = "canary"
_HISTORY = ".labels.json"
_LOCK = ".labels.lock"


@dataclass(frozen=True)
class LabelFile:
    """A model config that is being changed."""

    path: Path
    message: ModelServerConfig
    entry: ModelConfig  # the model's part of `message`
    before: dict[str, list[int | None]]  # {label: versions that it named before, oldest first; None: it did not exist}
    histories: Histories  # `before` of every model

    @property
    def labels(self) -> dict[str, int]:
        """The version of each label."""
        return dict(self.entry.version_labels)


@contextlib.contextmanager
def editing(config: Path, model: ServedModel) -> Iterator[LabelFile]:
    """Open the model config in the folder `config`, and keep out other edits. A change is written by `save`.

    Raises:
        RequestError: There is no model config, or it does not list the model.
        ServingError: Another run is changing it.
    """
    path = config / MODEL_CONFIG
    if not path.is_file():
        raise RequestError(f"There is no {path}. Write a configuration with: python -m serving init --output {config}.")
    with locked(config / _LOCK, f"Another run is changing {path}."):
        message = messages.read(path, "ModelServerConfig", "model config")
        entry = next((row for row in message.model_config_list.config if row.name == model.name), None)
        if entry is None:
            raise RequestError(f"{path} does not list {model.name}. Write it again: python -m serving init.")
        histories = _read_histories(config / _HISTORY)
        before = histories.setdefault(model.name, {})
        for label, older in before.items():
            while older and older[-1] == entry.version_labels.get(label):  # a run was killed before it wrote the config
                older.pop()
        yield LabelFile(path, message, entry, before, histories)


def check_free(config: Path, model: ServedModel, label: str) -> None:
    """Raise a RequestError if a label is in use, and so cannot name a version that is yet to be added."""
    with editing(config, model) as file:
        version = file.labels.get(label)
    if version is None:
        return
    if label == CANARY:
        raise RequestError(
            f"{CANARY} names version {version} of {model.name}. Promote that, or take the label back first: "
            f"rollback {model.name} --label {CANARY}."
        )
    raise RequestError(
        f"The label {label!r} is in use, and a server cannot move it to a version that it has yet to load. Add the "
        f"version under {CANARY} (leave --label out), and move {label!r} then."
    )


def move(file: LabelFile, model: ServedModel, label: str, version: int) -> None:
    """Let `label` name `version`.

    Raises:
        RequestError: There is no such version, or the label is in use and the version is not loaded.
    """
    if version not in model.versions:
        existing = ", ".join(map(str, model.versions))
        raise RequestError(f"{model.name} has no version {version}; there are {existing}. Nothing was changed.")
    old = file.labels.get(label)
    if old == version:
        return
    if old is not None and version not in model_config.loaded_versions(file.entry, model):
        if label == CANARY:
            first = f"Take the label back first: rollback --label {CANARY}."
        else:
            first = f"Load it under another label first: --version {version} --label {CANARY}."
        raise RequestError(
            f"Version {version} of {model.name} is not loaded, and a server moves a label that is in use only to a "
            f"version that is. {first} Nothing was changed."
        )
    file.before.setdefault(label, []).append(old)
    file.entry.version_labels[label] = version
    if label == STABLE and file.labels.get(CANARY) == version:
        del file.entry.version_labels[CANARY]
        file.before.pop(CANARY, None)
    _load_labeled(file)


def move_back(file: LabelFile, model: ServedModel, label: str) -> int | None:
    """Let `label` name what it named before, and return that version; None if the label did not exist then.

    Raises:
        RequestError: The label was never moved, or the version before is gone or not loaded.
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
            f"Version {old} of {model.name}, which {label!r} named before {current}, is gone or not loaded. Load it "
            f"under another label first: promote {model.name} --version {old} --label {CANARY}."
        )
    file.before[label].pop()
    if old is None:
        del file.entry.version_labels[label]
    else:
        file.entry.version_labels[label] = old
    _load_labeled(file)
    return old


def save(file: LabelFile, model: ServedModel) -> None:
    """Write the config with one rename: a server finds the old one or the new one.

    Raises:
        ServingError: It would be wrong, or cannot be written. The old one stays.
    """
    findings = errors(model_config.check(file.message, [model], str(file.path)))
    wrong = [str(finding) for finding in findings if f"model {model.name}" in finding.where]
    if wrong:
        raise ServingError("The model config would be wrong, so it is not changed:\n" + "\n".join(wrong))
    moved = {name: {label: rows for label, rows in labels.items() if rows} for name, labels in file.histories.items()}
    try:
        # The history first: if the run ends here, `editing` sees that the last entry leads to the present version.
        replace_text(file.path.parents[1] / _HISTORY, json.dumps(moved, indent=2, sort_keys=True) + "\n")
        replace_text(file.path, model_config.to_text(file.message))
    except OSError as error:
        raise ServingError(f"{file.path} cannot be written: {error}. It is as it was.") from error


def _load_labeled(file: LabelFile) -> None:
    """Have the server load the versions with a label, and those that the labels named before."""
    before = [version for label in file.labels for version in file.before.get(label, [])[-1:] if version is not None]
    file.entry.model_version_policy.specific.versions[:] = sorted({*file.labels.values(), *before})


def _read_histories(path: Path) -> Histories:
    try:
        histories = json.loads(path.read_text(encoding="utf-8"))
        return {name: {label: list(rows) for label, rows in labels.items()} for name, labels in histories.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ServingError(f"{path} cannot be read: {error}. Remove it; no label can be rolled back then.") from error


def check_ready(server: str, name: str, version: int) -> None:
    """Check that the server at a REST address has a version ready.

    Raises:
        RequestError: The address is not a URL.
        ServingError: The server does not answer, or does not have the version ready.
    """
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
