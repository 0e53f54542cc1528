"""The model config: which models, which of their versions, under which labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from serving.artifacts import BASE_PATHS, ServedModel
from serving.configuration import messages
from serving.findings import Finding

MODELS = PurePosixPath("/models")  # where the containers see the folder of the exported models
STABLE = "stable"
_PLATFORM = "tensorflow"
_COMMENT = """What TensorFlow Serving loads, and under which labels: /v1/models/NAME/labels/stable:predict.
A running server reads this file again every 30 seconds. `python -m serving promote` and `rollback` change it."""


def container_path(model: ServedModel) -> str:
    """Where the server finds the version folders of a model."""
    path = MODELS / model.name
    return str(path / model.base_path.name if model.base_path.name in BASE_PATHS else path)


def build(models: Iterable[ServedModel], existing: Any | None = None) -> Any:
    """The model config for `models`: the newest version of each, labelled stable.

    A model that `existing` serves from the same place, and whose labels all name versions that are still there, keeps
    what it has: promoting a version and writing the configuration again do not get in each other's way.
    """
    kept = {config.name: config for config in existing.model_config_list.config} if existing is not None else {}
    message = messages.model_server_config()()
    for model in models:
        config = message.model_config_list.config.add()
        old = kept.get(model.name)
        if old is not None and old.base_path == container_path(model) and not _version_findings(old, model, ""):
            config.CopyFrom(old)
            continue
        config.name = model.name
        config.base_path = container_path(model)
        config.model_platform = _PLATFORM
        # Named versions rather than the latest one: a label must point to a version that stays loaded.
        config.model_version_policy.specific.versions.append(model.versions[-1])
        config.version_labels[STABLE] = model.versions[-1]
    return message


def to_text(message: Any) -> str:
    """The model config as a file for `--model_config_file`."""
    return messages.to_text(message, _COMMENT)


def check(message: Any, models: Iterable[ServedModel], where: str) -> Iterator[Finding]:
    """What is wrong with a model config, given the models that were exported."""
    exported = {model.name: model for model in models}
    if message.WhichOneof("config") == "custom_model_config":
        what = "It holds a custom_model_config, which the released server does not know."
        yield Finding("error", where, what, "List the models in model_config_list.")
        return
    configs = list(message.model_config_list.config)
    if not configs:
        yield Finding("error", where, "It lists no model.", "Write it again: python -m serving init.")
    seen: set[str] = set()
    for config in configs:
        here = f"{where}, model {config.name or '(without a name)'}"
        if config.name in seen:
            yield Finding("error", here, "It is listed twice.", "Leave one of them out.")
        seen.add(config.name)
        if config.model_platform != _PLATFORM:
            what = f"model_platform is {config.model_platform!r}."
            yield Finding("error", here, what, f"Give {_PLATFORM!r}; there is no other in the released server.")
        if config.name not in exported:
            what = f"There is no such model; there are {', '.join(sorted(exported)) or 'none'}."
            yield Finding("error", here, what, "Export it, or write the configuration again: python -m serving init.")
            continue
        model = exported[config.name]
        if config.base_path.rstrip("/") != container_path(model):
            what = f"base_path is {config.base_path!r}; the versions lie in {container_path(model)}."
            yield Finding("error", here, what, f"Give base_path: {container_path(model)!r}.")
        yield from _version_findings(config, model, here)
    if left := sorted(set(exported) - seen):
        what = f"Exported and not served: {', '.join(left[:10])}{' …' if len(left) > 10 else ''}."
        yield Finding("warning", where, what, "To serve them, write the configuration again: python -m serving init.")


def loaded_versions(config: Any, model: ServedModel) -> set[int]:
    """The versions of `model` that its config asks for, whether or not they exist."""
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "specific":
            return set(policy.specific.versions)
        case "all":
            return set(model.versions)
    return set(model.versions[-(policy.latest.num_versions or 1) :])


def _version_findings(config: Any, model: ServedModel, where: str) -> list[Finding]:
    findings = []
    there = f"there are {', '.join(map(str, model.versions))}"
    loaded = loaded_versions(config, model)
    if not loaded:
        findings.append(Finding("error", where, "specific lists no version.", f"Name one; {there}."))
    findings += [
        Finding("error", where, f"Version {version} does not exist; {there}.", "Take it out, or export it.")
        for version in sorted(loaded - set(model.versions))
    ]
    for label, version in sorted(config.version_labels.items()):
        if version not in loaded:
            what = f"The label {label!r} names version {version}, which the policy does not load."
            findings.append(Finding("error", where, what, "Add the version to the policy, or move the label."))
    return findings
