"""Which models to serve: a folder of exported models, or TensorFlow Serving's own model config file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from serving.development.version_table import ModelConfig, Policy
from serving.errors import RequestError

_LATEST = Policy()


def from_folder(folder: Path) -> list[ModelConfig]:
    """Every model in a folder that `export` wrote to, the newest version of each.

    Raises:
        RequestError: there is none.
    """
    from serving.artifacts import find_models

    return [ModelConfig(model.name, model.base_path) for model in find_models(folder)]


def from_file(path: Path, models: Path | None) -> list[ModelConfig]:
    """The models of a model config file (text format of `ModelServerConfig`).

    Args:
        path: the file.
        models: the folder that stands for the container's /models in the file's base paths.

    Raises:
        RequestError: it cannot be read, or describes what cannot be served here.
    """
    from serving.configuration import messages

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The model config {path} cannot be read: {error}.") from error
    return from_message(messages.parse(text, messages.model_server_config(), str(path)), models, str(path))


def from_message(message: Any, models: Path | None, where: str) -> list[ModelConfig]:
    """The models of a `ModelServerConfig`; `where` names it in errors."""
    if message.WhichOneof("config") == "custom_model_config":
        raise RequestError(f"{where} holds a custom_model_config; list the models in model_config_list.")
    configs = [_model(config, models, where) for config in message.model_config_list.config]
    _refuse_twice((config.name for config in configs), where)
    return configs


def _model(config: Any, models: Path | None, where: str) -> ModelConfig:
    if not config.name or not config.base_path:
        raise RequestError(f"{where}: a model has no {'base_path' if config.name else 'name'}; give it one.")
    if config.model_platform not in ("", "tensorflow"):
        raise RequestError(
            f"{where}: {config.name} has model_platform {config.model_platform!r}; only 'tensorflow' is served."
        )
    return ModelConfig(
        config.name, _base_path(config, models, where), _policy(config, where), dict(config.version_labels)
    )


def _base_path(config: Any, models: Path | None, where: str) -> Path:
    from serving.configuration.model_config import MODELS

    path = Path(config.base_path)
    if models is not None and path.is_relative_to(MODELS):
        inside = path.relative_to(MODELS)
        if ".." in inside.parts:
            raise RequestError(f"{where}: {config.name} has a base_path with '..' in it: {config.base_path}.")
        return models / inside
    if not path.is_absolute():
        raise RequestError(
            f"{where}: {config.name} has a relative base_path, {config.base_path}; give an absolute one."
        )
    if models is None and path.is_relative_to(MODELS) and not path.is_dir():
        raise RequestError(
            f"{where}: the base_path of {config.name} is {path}, as in a container. Say which folder stands for "
            f"{MODELS}: --models artifacts/."
        )
    return path


def _policy(config: Any, where: str) -> Policy:
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return Policy(latest=0)
        case "specific":
            if not policy.specific.versions:
                raise RequestError(f"{where}: {config.name} asks for specific versions and names none.")
            return Policy(specific=tuple(policy.specific.versions))
        case "latest":
            return Policy(latest=policy.latest.num_versions or 1)
    return _LATEST


def _refuse_twice(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RequestError(f"{where} lists {name} twice; leave one of them out.")
        seen.add(name)


def reader(models: Path | None, config: Path | None) -> Callable[[], Sequence[ModelConfig] | None]:
    """A function that gives the models when it is first called, and later only when the config file has changed.

    Raises (when called):
        RequestError: neither was given, or the file cannot be read or used.
    """
    seen: list[object] = []

    def read() -> Sequence[ModelConfig] | None:
        if config is None:
            if seen:
                return None
            seen.append(models)
            if models is None:
                raise RequestError("Say what to serve: --models artifacts/, or --config FILE.")
            return from_folder(models)
        try:
            now = (config.stat().st_mtime_ns, config.stat().st_size, config.stat().st_ino)
        except OSError as error:
            if seen:
                return None  # it is being replaced
            raise RequestError(f"The model config {config} cannot be read: {error}.") from error
        if seen == [now]:
            return None
        seen[:] = [now]
        return from_file(config, models)

    return read
