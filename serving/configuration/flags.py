"""The command line of `tensorflow_model_server`: what is set, and which flags there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from typing import Any

from serving.configuration import messages
from serving.findings import Finding

_HEALTH_CHECK = "/config/healthcheck.sh"


def known_flags() -> frozenset[str]:
    """The names of all flags, without the dashes."""
    text = resources.files("serving.configuration").joinpath("flags.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def server_flags(profile: str, *, gpu: bool, memory_fraction: str = "") -> list[str]:
    """The flags to start the server with.

    profile: of the batching parameters; may be a variable of compose, such as "${CPU_BATCHING:-cpu}".
    memory_fraction: share of the GPU's memory that TensorFlow may take, with `gpu` only; may be a variable too.
    """
    flags = [
        "--model_config_file=/config/models.config",
        "--model_config_file_poll_wait_seconds=30",
        # Without it the server refuses to start: at that moment no version is available yet.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file=/config/batching.{profile}.config",
        "--monitoring_config_file=/config/monitoring.config",
        # 0, the default, loads a new version in the thread that manages all others.
        "--num_load_threads=2",
        "--num_unload_threads=2",
        # By default a version that cannot be loaded is tried for five minutes before its error is told.
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=5000000",
        "--enable_profiler=false",
    ]
    if gpu:
        flags += [
            "--tensorflow_session_config_file=/config/session.config",
            f"--per_process_gpu_memory_fraction={memory_fraction}",
        ]
    return flags


def check(documents: Mapping[str, list[Any]], files: Mapping[str, str], served: Collection[str]) -> Iterator[Finding]:
    """What is wrong with the command lines of TensorFlow Serving in compose and Kubernetes files.

    documents: {path: parsed documents}. files: the texts of all files, those below tfs/ being /config in a container.
    served: the names in the model config.
    """
    variables = _variables(files.get(".env", ""))
    for name, parsed in documents.items():
        for container in _containers(parsed):
            arguments = [_expand(str(argument), variables) for argument in _arguments(container)]
            yield from _check_flags(arguments, files, name)
            if "auto_jit" in str(container.get("env", container.get("environment"))) and not any(
                argument.startswith("--xla_gpu_compilation_enabled") for argument in arguments
            ):
                what = "TF_XLA_FLAGS turns XLA on, and the server turns it off: the first request of a model fails."
                yield Finding("error", name, what, "Add --xla_gpu_compilation_enabled=true, or take the variable out.")
        for asked in _asked_for(parsed):
            for unknown in sorted(set(asked) - set(served) if served else ()):
                what = f"The health check asks for {unknown}, which is not served."
                yield Finding("error", name, what, "Write the configuration again: python -m serving init.")


def batching_in_use(files: Mapping[str, str]) -> list[str]:
    """The batching files that compose.yaml and compose.gpu.yaml name, with the values of .env."""
    variables = _variables(files.get(".env", ""))
    found = {
        _expand(path, variables)
        for name in ("compose.yaml", "compose.gpu.yaml")
        for path in re.findall(r"--batching_parameters_file=/config/(\S+)", files.get(name, ""))
    }
    return sorted(f"tfs/{path}" for path in found)


def _check_flags(arguments: list[str], files: Mapping[str, str], where: str) -> Iterator[Finding]:
    known = known_flags()
    given = {}
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        given[name] = value or "true"
        if not argument.startswith("--"):
            yield Finding("error", where, f"{argument!r} is not a flag.", "Write flags as --NAME=VALUE.")
        elif name in messages.batching_fields():
            mend = "It belongs into the file of --batching_parameters_file."
            yield Finding("error", where, f"--{name} is not a flag of the server.", mend)
        elif name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            mend = f"Did you mean --{nearest[0]}?" if nearest else "Leave it out; the server would not start."
            yield Finding("error", where, f"--{name} is not a flag of the server.", mend)
        if value.startswith("/config/") and f"tfs/{value.removeprefix('/config/')}" not in files:
            yield Finding("error", where, f"--{name} names {value}, and there is no such file in tfs/.", "Write it.")
    if not given:
        return
    batching = given.get("enable_batching") == "true"
    for name in ("batching_parameters_file", "enable_per_model_batching_parameters"):
        if name in given and not batching:
            mend = "Add --enable_batching=true."
            yield Finding("error", where, f"--{name} without --enable_batching: the server ends at once.", mend)
    if "model_config_file" in given and given.get("allow_version_labels_for_unavailable_models") != "true":
        what = "Labels are refused at the start, since no version is available yet."
        yield Finding("error", where, what, "Add --allow_version_labels_for_unavailable_models=true.")
    if "per_process_gpu_memory_fraction" in given:
        yield from _check_fraction(given["per_process_gpu_memory_fraction"], where)


def _check_fraction(text: str, where: str) -> Iterator[Finding]:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1
    if not 0 < fraction <= 1:
        what = f"--per_process_gpu_memory_fraction is {text}."
        yield Finding("error", where, what, "Give a share of the GPU's memory, such as 0.8.")
    elif fraction > 0.95:
        what = f"--per_process_gpu_memory_fraction is {text}; the CUDA context needs some hundred MB beside it."
        yield Finding("warning", where, what, "Give 0.9 or less.")


def _containers(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every container or service of TensorFlow Serving below a value, by its image or its name."""
    if isinstance(value, dict):
        image = str(value.get("image", ""))
        if image.startswith("tensorflow/serving") or value.get("name") == "tensorflow-serving":
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _containers(child)


def _arguments(container: Mapping[str, Any]) -> list[Any]:
    arguments = container.get("args", container.get("command", []))
    return arguments if isinstance(arguments, list) else str(arguments).split()


def _asked_for(value: Any) -> Iterator[list[str]]:
    """The models that health checks below a value name."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        if _HEALTH_CHECK in value:
            yield [str(name) for name in value[value.index(_HEALTH_CHECK) + 1 :]]
        else:
            for child in value:
                yield from _asked_for(child)


def _variables(environment: str) -> dict[str, str]:
    lines = (line.partition("=") for line in environment.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip('"') for name, equals, value in lines if equals}


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """Compose's ${NAME} and ${NAME:-default}."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: variables.get(found[1]) or found[2] or "", text)
