"""The version table: which versions of which models are in memory, and what became of the others.

Versions come and go as in TensorFlow Serving: every folder named by a whole number is a version, the policy of the
model chooses among them, and an old version is unloaded only after a new one was loaded, so a model is never without.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from serving.artifacts import parse_any_version
from serving.configuration.tfs.model_config import Policy
from serving.development.runtime.servable import Servable
from serving.development.statuses import Code, StatusError, invalid

logger = logging.getLogger(__name__)
_REMEMBERED = 20  # versions of a model that failed or were unloaded, and are still reported


class State(IntEnum):
    """`ModelVersionStatus.State` of get_model_status.proto."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class ModelConfig:
    """A model of the configuration."""

    name: str
    base_path: Path  # the folder of its versions
    policy: Policy = field(default_factory=Policy)
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Version:
    """A version of a model."""

    number: int
    folder: Path
    state: State = State.START
    code: Code = Code.OK  # why it ended; OK if it was unloaded
    message: str = ""  # the same in words
    servable: Servable | None = None  # while it is loaded
    users: int = 0  # requests that use it right now


@dataclass(frozen=True)
class Leased:
    """A loaded version that stays in memory while a request uses it."""

    number: int
    servable: Servable


class Table:
    """The models and their versions. A request takes a version with `lease`; `poll` follows the file system."""

    def __init__(self, load: Callable[[Path], Servable]) -> None:
        self._load = load
        self._configs: dict[str, ModelConfig] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._lock = threading.Condition()
        self._polling = threading.Lock()  # one poll at a time: loading is slow and must not happen twice

    def configure(self, configs: Sequence[ModelConfig]) -> None:
        """Replace the list of models. The next `poll` loads and unloads what has changed.

        Raises:
            StatusError: FAILED_PRECONDITION, if a label that exists would move to a version that is not loaded. The
                list stays as it was.
        """
        with self._lock:
            for config in configs:
                self._check_labels(config)
            self._configs = {config.name: config for config in configs}
            for name in self._configs:
                self._versions.setdefault(name, {})

    def _check_labels(self, config: ModelConfig) -> None:
        known = self._configs.get(config.name)
        versions = self._versions.get(config.name, {})
        for label, number in config.labels.items():
            moves = known is not None and known.labels.get(label, number) != number
            if moves and (number not in versions or versions[number].state is not State.AVAILABLE):
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {config.name}, which is not currently "
                    "available for inference",
                )

    def names(self) -> list[str]:
        """Return the names of the configured models."""
        with self._lock:
            return sorted(self._configs)

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a model, newest first; an empty list for a model that is not configured."""
        with self._lock:
            versions = self._versions.get(name, {}) if name in self._configs else {}
            return [version for _, version in sorted(versions.items(), reverse=True)]

    def statuses(self, name: str, number: int | None = None) -> list[Version]:
        """Return the versions of a model, or the one asked for, newest first; raise NOT_FOUND if there is none."""
        chosen = [v for v in self.versions(name) if number in (None, v.number)]
        if not chosen:
            which = f"version {number} of model {name}" if number is not None else f"any versions of model {name}"
            raise StatusError(Code.NOT_FOUND, f"Could not find {which}")
        return chosen

    @contextmanager
    def lease(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[Leased]:
        """Keep a version in memory while it is used: the one asked for, or the newest."""
        version, servable = self._take(name, number, label)
        try:
            yield Leased(version.number, servable)
        finally:
            with self._lock:
                version.users -= 1
                self._lock.notify_all()

    def _take(self, name: str, number: int | None, label: str | None) -> tuple[Version, Servable]:
        with self._lock:
            config = self._configs.get(name)
            if label:
                if config is None or label not in config.labels:
                    raise invalid(f"Unrecognized servable version label: {label}")
                number = config.labels[label]
            versions = sorted(self._versions.get(name, {}).items(), reverse=True) if config is not None else []
            for _, version in versions:
                if version.state is State.AVAILABLE and version.servable and number in (None, version.number):
                    version.users += 1
                    return version, version.servable
            which = f"Latest({name})" if config is None or number is None else f"Specific({name}, {number})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {which}")

    def poll(self) -> None:
        """Look at the folders once: load what is new and chosen, then unload what no longer is."""
        with self._polling:
            with self._lock:
                known = sorted(self._versions)
                configs = dict(self._configs)
            for name in known:
                config = configs.get(name)
                folders = find_versions(config.base_path) if config else {}
                if folders is None:
                    continue  # a folder that is being replaced is gone for a moment
                chosen = config.policy.choose(folders) if config else []
                for number in chosen:
                    self._load_version(name, number, folders[number])
                self._release(name, set(chosen))

    def close(self) -> None:
        """Unload everything, once the running requests have ended."""
        self.configure(())
        self.poll()

    def _load_version(self, name: str, number: int, folder: Path) -> None:
        old = self._versions[name].get(number)
        # A number that failed stays failed, whatever becomes of its files: so it is in the real server.
        if old and (old.state is not State.END or old.code is not Code.OK):
            return
        with self._lock:
            version = self._versions[name][number] = Version(number, folder, State.LOADING)
        logger.info("%s: loading version %d from %s", name, number, folder)
        try:
            servable = self._load(folder)
        except StatusError as error:
            logger.error(
                "%s: version %d cannot be served: %s. It is not tried again; add it under a new number.",
                name,
                number,
                error.message.rstrip("."),
            )
            with self._lock:
                version.state, version.code, version.message = State.END, error.code, error.message
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
        logger.info("%s: version %d is available", name, number)

    def _release(self, name: str, chosen: set[int]) -> None:
        with self._lock:
            versions = self._versions[name]
            loaded = [v for v in versions.values() if v.state is State.AVAILABLE]
            leaving = [v for v in loaded if v.number not in chosen]
            if chosen and not any(v.number in chosen for v in loaded):
                return  # none of the new ones works: the old one keeps serving
            for version in leaving:
                version.state = State.UNLOADING
        for version in leaving:
            with self._lock:
                while version.users:
                    self._lock.wait()
                servable, version.servable = version.servable, None
            if servable is not None:
                servable.close()
            with self._lock:
                version.state = State.END
            logger.info("%s: version %d is unloaded", name, version.number)
        self._forget(name, chosen)

    def _forget(self, name: str, chosen: set[int]) -> None:
        with self._lock:
            versions = self._versions[name]
            ended = [n for n, v in sorted(versions.items()) if v.state is State.END and n not in chosen]
            for number in ended[:-_REMEMBERED] if name in self._configs else ended:
                del versions[number]
            if not versions and name not in self._configs:
                del self._versions[name]


def find_versions(base_path: Path) -> dict[int, Path] | None:
    """Return what is named by a number in a base path, whatever it is; None if the path does not exist.

    A file counts as well, and so do -5 and 007. Names such as "v1", "0.1" and ".1" do not.
    """
    try:
        children = sorted(base_path.iterdir())
    except OSError:
        return None
    numbered = ((parse_any_version(child.name), child) for child in children)
    return {number: child for number, child in numbered if number is not None}
