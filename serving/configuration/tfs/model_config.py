"""The model config: which models are served, which of their versions, and under which labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from serving.artifacts import BASE_PATHS, ServedModel
from serving.configuration.tfs import messages
from serving.findings import Finding

if TYPE_CHECKING:
    from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

MODELS = PurePosixPath("/models")  # where the containers see the folder of the exported models
STABLE = "stable"
_PLATFORM = "tensorflow"
_COMMENT = """What TensorFlow Serving loads, and under which labels: /v1/models/NAME/labels/stable:predict.
A running server reads this file again every 30 seconds. `python -m serving promote` and `rollback` change it."""


@dataclass(frozen=True)
class Policy:
    """Which versions of a model are served."""

    latest: int = 1  # how many of the newest; 0 for all
    specific: tuple[int, ...] | None = None  # these instead

    def choose(self, versions: Iterable[int]) -> list[int]:
        """Return the chosen ones of these versions, ascending."""
        if self.specific is not None:
            return sorted(set(versions) & set(self.specific))
        return sorted(versions)[-self.latest :]


def container_path(model: ServedModel) -> str:
    """Return where a server in a container finds the version folders of a model."""
    base_path = model.base_path
    return str(MODELS / (Path(base_path.parent.name, base_path.name) if base_path.name in BASE_PATHS else model.name))


def build(models: Iterable[ServedModel], existing: ModelServerConfig | None = None) -> ModelServerConfig:
    """Build the model config for `models`: the newest version of each, labeled stable.

    A model that `existing` serves from the same place keeps what it has there, if all its labels name versions that
    still exist. `promote` and a second `init` therefore do not undo each other.
    """
    kept = {entry.name: entry for entry in existing.model_config_list.config} if existing is not None else {}
    message = messages.new("ModelServerConfig")
    for model in models:
        entry = message.model_config_list.config.add()
        old = kept.get(model.name)
        if old is not None and old.base_path == container_path(model) and not list(_check_versions(old, model, "")):
            entry.CopyFrom(old)
            continue
        entry.name, entry.base_path, entry.model_platform = model.name, container_path(model), _PLATFORM
        # Named versions rather than the latest one: a label must point to a version that stays loaded.
        entry.model_version_policy.specific.versions.append(model.versions[-1])
        entry.version_labels[STABLE] = model.versions[-1]
    return message


def to_text(message: ModelServerConfig) -> str:
    """Return the model config as a file for `--model_config_file`."""
    return messages.to_text(message, _COMMENT)


def check(message: ModelServerConfig, models: Iterable[ServedModel], where: str) -> Iterator[Finding]:
    """Find what is wrong with a model config, given the models that were exported."""
    exported = {model.name: model for model in models}
    if message.WhichOneof("config") == "custom_model_config":
        what = "It holds a custom_model_config, which the released server does not know."
        yield Finding("error", where, what, "List the models in model_config_list.")
        return
    entries = list(message.model_config_list.config)
    if not entries:
        yield Finding("error", where, "It lists no model.", "Write it again: python -m serving init.")
    listed: set[str] = set()
    for entry in entries:
        here = f"{where}, model {entry.name or '(without a name)'}"
        if entry.name in listed:
            yield Finding("error", here, "It is listed twice.", "Remove one of the two.")
        listed.add(entry.name)
        if entry.model_platform != _PLATFORM:
            what = f"model_platform is {entry.model_platform!r}."
            yield Finding("error", here, what, f"Give {_PLATFORM!r}, the only one in the released server.")
        if entry.name not in exported:
            what = (
                f"There is no such model; there are {', '.join(sorted(exported)) or 'none'}. A server that starts with "
                "a base path that does not exist never opens REST, and one that runs stops looking for versions of all "
                "models."
            )
            yield Finding("error", here, what, "Export it, or write the configuration again: python -m serving init.")
            continue
        model = exported[entry.name]
        if entry.base_path.rstrip("/") != container_path(model):
            what = f"base_path is {entry.base_path!r}; the versions are in {container_path(model)}."
            what += " With a path that does not exist a server never opens REST."
            yield Finding("error", here, what, f"Give base_path: {container_path(model)!r}.")
        yield from _check_versions(entry, model, here)
    if missing := sorted(set(exported) - listed):
        what = f"Exported and not served: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}."
        yield Finding("warning", where, what, "To serve them, write the configuration again: python -m serving init.")


def read_policy(entry: ModelConfig) -> Policy:
    """Return the policy of a model."""
    policy = entry.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "specific":
            return Policy(specific=tuple(policy.specific.versions))
        case "all":
            return Policy(latest=0)
    return Policy(latest=policy.latest.num_versions or 1)


def loaded_versions(entry: ModelConfig, model: ServedModel) -> set[int]:
    """Return the versions of `model` that its entry asks for, whether or not they exist."""
    policy = read_policy(entry)
    return set(policy.choose(model.versions) if policy.specific is None else policy.specific)


def _check_versions(entry: ModelConfig, model: ServedModel, where: str) -> Iterator[Finding]:
    existing = f"there are {', '.join(map(str, model.versions))}"
    loaded = loaded_versions(entry, model)
    if not loaded:
        what = "specific lists no version: a server unloads all that it has."
        yield Finding("error", where, what, f"Name one; {existing}.")
    for version in sorted(loaded - set(model.versions)):
        yield Finding("error", where, f"Version {version} does not exist; {existing}.", "Take it out, or export it.")
    for label, version in sorted(entry.version_labels.items()):
        if version not in loaded:
            what = f"The label {label!r} names version {version}, which the policy does not load."
            yield Finding("error", where, what, "Add the version to the policy, or move the label.")
