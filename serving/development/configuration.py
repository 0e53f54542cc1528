"""Which models to serve: a folder of exported models, or TensorFlow Serving's own model config file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving.artifacts import find_models
from serving.configuration.tfs import messages
from serving.configuration.tfs.model_config import MODELS, read_policy
from serving.development.version_table import ModelConfig
from serving.errors import RequestError

if TYPE_CHECKING:
    from tensorflow_serving.config import model_server_config_pb2 as pb2


def from_folder(folder: Path) -> list[ModelConfig]:
    """Return every model in a folder that `export` wrote to, with its newest version."""
    return [ModelConfig(model.name, model.base_path) for model in find_models(folder)]


def from_file(path: Path, models: Path | None) -> list[ModelConfig]:
    """Return the models of a model config file; `models` stands for the container's /models in its base paths."""
    return from_message(messages.read(path, "ModelServerConfig", "model config"), models, str(path))


def from_message(message: pb2.ModelServerConfig, models: Path | None, where: str) -> list[ModelConfig]:
    """Return the models of a `ModelServerConfig`; `where` names it in errors.

    Raises:
        RequestError: It describes something that cannot be served here.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise RequestError(f"{where} holds a custom_model_config; list the models in model_config_list.")
    if message.WhichOneof("config") is None:
        raise RequestError(f"{where} is empty; list the models in model_config_list.")
    configs: dict[str, ModelConfig] = {}
    for entry in message.model_config_list.config:
        if entry.name in configs:
            raise RequestError(f"{where} lists {entry.name} twice; remove one of the two.")
        configs[entry.name] = _read_entry(entry, models, where)
    return list(configs.values())


def _read_entry(entry: pb2.ModelConfig, models: Path | None, where: str) -> ModelConfig:
    if not entry.name or not entry.base_path:
        raise RequestError(f"{where}: a model has no {'base_path' if entry.name else 'name'}; give it one.")
    if entry.model_platform != "tensorflow":
        raise RequestError(
            f"{where}: {entry.name} has model_platform {entry.model_platform!r}; only 'tensorflow' is served."
        )
    return ModelConfig(entry.name, _base_path(entry, models, where), read_policy(entry), dict(entry.version_labels))


def _base_path(entry: pb2.ModelConfig, models: Path | None, where: str) -> Path:
    path = Path(entry.base_path)
    if models is not None and path.is_relative_to(MODELS):
        inside = path.relative_to(MODELS)
        if ".." in inside.parts:
            raise RequestError(f"{where}: {entry.name} has a base_path with '..' in it: {entry.base_path}.")
        return models / inside
    if not path.is_absolute():
        raise RequestError(f"{where}: {entry.name} has a relative base_path, {entry.base_path}; give an absolute one.")
    if models is None and path.is_relative_to(MODELS) and not path.is_dir():
        raise RequestError(
            f"{where}: the base_path of {entry.name} is {path}, as in a container. Say which folder stands for "
            f"{MODELS}: --models artifacts/."
        )
    return path


def reader(models: Path | None, config: Path | None) -> Callable[[], Sequence[ModelConfig] | None]:
    """Return a function that reads the list of models: of the config file, or of the folder `models` without one.

    It returns None while nothing has changed, and raises a RequestError if there is nothing to read.
    """
    last: list[object] = []  # what the last call saw

    def read() -> Sequence[ModelConfig] | None:
        if config is None:
            if last:
                return None
            last.append(models)
            if models is None:
                raise RequestError("Say what to serve: --models artifacts/, or --config FILE.")
            return from_folder(models)
        try:
            stat = config.stat()
        except OSError as error:
            if last:
                return None  # it is being replaced
            raise RequestError(f"The model config {config} cannot be read: {error}.") from error
        if last == [state := (stat.st_mtime_ns, stat.st_size, stat.st_ino)]:
            return None
        last[:] = [state]
        return from_file(config, models)

    return read
