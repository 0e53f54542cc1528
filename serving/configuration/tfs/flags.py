"""The command line of `tensorflow_model_server`: the flags that `init` sets, and the flags that exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from serving.configuration.documents import walk
from serving.configuration.tfs import batching, messages
from serving.errors import RequestError
from serving.findings import Finding

_HEALTH_CHECK = "/config/healthcheck.sh"


def known_flags() -> frozenset[str]:
    """Return the names of all flags, without the dashes."""
    text = Path(__file__).with_name("flags.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def server_flags(profile: str, *, gpu: bool, memory_fraction: str = "") -> list[str]:
    """Return the flags to start the server with.

    Args:
        profile: The batching profile, or a variable of compose such as "${CPU_BATCHING:-cpu}".
        gpu: Whether the server has a GPU.
        memory_fraction: The share of the GPU's memory that TensorFlow may take, or a variable.
    """
    return [
        "--port=8500",
        "--rest_api_port=8501",
        "--model_config_file=/config/models.config",
        "--model_config_file_poll_wait_seconds=30",
        # Without it the server refuses to start: at that moment no version is available yet.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
        *common_flags(profile, gpu=gpu, memory_fraction=memory_fraction),
    ]


def common_flags(profile: str, *, gpu: bool, memory_fraction: str = "") -> list[str]:
    """Return the flags that hold whoever chooses the ports and the models; arguments as for `server_flags`."""
    threads = max(known.client_threads for known in batching.PROFILES)
    flags = [
        "--enable_batching=true",
        f"--batching_parameters_file=/config/batching.{profile}.config",
        # 4 for each CPU by default: too few requests would be there at once to fill a batch, or the queue.
        f"--rest_api_num_threads={threads}",
        f"--grpc_max_threads={threads}",
        "--monitoring_config_file=/config/monitoring.config",
        # 0, the default, loads a new version in the thread that manages all others.
        "--num_load_threads=2",
        "--num_unload_threads=2",
        # By default the server retries a version that cannot be loaded for five minutes before it reports the error.
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


def check(parsed: Mapping[str, object], files: Mapping[str, str], served: Collection[str]) -> Iterator[Finding]:
    """Find what is wrong with the command lines of TensorFlow Serving in compose and Kubernetes files.

    Args:
        parsed: {path: parsed documents}.
        files: {path: text} of all files; those below tfs/ are /config in a container.
        served: The names in the model config.
    """
    variables = read_variables(files.get(".env", ""))
    for name, documents in parsed.items():
        for container in _containers(documents):
            arguments = [_expand(str(argument), variables) for argument in _arguments(container)]
            yield from _check_flags(arguments, files, name)
            xla_is_on = any(argument.startswith("--xla_gpu_compilation_enabled") for argument in arguments)
            if "auto_jit" in str(container.get("env", container.get("environment"))) and not xla_is_on:
                what = "TF_XLA_FLAGS turns XLA on, and the server turns it off: the first request of a model fails."
                yield Finding("error", name, what, "Add --xla_gpu_compilation_enabled=true, or remove the variable.")
        for unknown in sorted(set(_health_checked(documents)) - set(served)) if served else ():
            what = f"The health check asks for {unknown}, which is not served."
            yield Finding("error", name, what, "Write the configuration again: python -m serving init.")


def batching_in_use(files: Mapping[str, str]) -> list[str]:
    """Return the batching files that compose and Kubernetes files name, with the values of .env."""
    variables = read_variables(files.get(".env", ""))
    paths = {
        _expand(path, variables)
        for name, text in files.items()
        if name.endswith((".yaml", ".yml"))
        for path in re.findall(r"--batching_parameters_file=/config/(\S+)", text)
    }
    return sorted(f"tfs/{path}" for path in paths)


def _check_flags(arguments: list[str], files: Mapping[str, str], where: str) -> Iterator[Finding]:
    known = known_flags()
    given = {}
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        given[name] = value or "true"
        if not argument.startswith("--"):
            yield Finding("error", where, f"{argument!r} is not a flag.", "Write flags as --NAME=VALUE.")
        elif name in messages.new("BatchingParameters").DESCRIPTOR.fields_by_name:
            mend = "Put it into the file of --batching_parameters_file."
            yield Finding("error", where, f"--{name} is not a flag of the server.", mend)
        elif name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            mend = f"Did you mean --{nearest[0]}?" if nearest else "Leave it out; the server would not start."
            yield Finding("error", where, f"--{name} is not a flag of the server.", mend)
        if value.startswith("/config/") and f"tfs/{value.removeprefix('/config/')}" not in files:
            yield Finding("error", where, f"--{name} names {value}, and there is no such file in tfs/.", "Write it.")
    if not given:
        return
    for name in ("batching_parameters_file", "enable_per_model_batching_parameters"):
        if name in given and given.get("enable_batching") != "true":
            what = f"--{name} without --enable_batching: the server ends at once."
            yield Finding("error", where, what, "Add --enable_batching=true.")
    if "model_config_file" in given and given.get("allow_version_labels_for_unavailable_models") != "true":
        what = "Labels are refused at the start, since no version is available yet."
        yield Finding("error", where, what, "Add --allow_version_labels_for_unavailable_models=true.")
    yield from _check_threads(given, files, where)
    if "per_process_gpu_memory_fraction" in given:
        yield from _check_fraction(given["per_process_gpu_memory_fraction"], where)


def _check_threads(given: Mapping[str, str], files: Mapping[str, str], where: str) -> Iterator[Finding]:
    """Find fewer threads than the requests that fill a batch and wait for the next one."""
    path = given.get("batching_parameters_file", "").replace("/config/", "tfs/")
    try:
        needed = 2 * messages.parse(files[path], "BatchingParameters", path).max_batch_size.value
    except (KeyError, RequestError):
        return
    for name in ("rest_api_num_threads", "grpc_max_threads"):
        threads = given.get(name, "")
        if not threads or (threads.isdecimal() and int(threads) < needed):
            what = f"--{name} is {threads or '4 for each CPU, since it is not given'}: batches stay small."
            yield Finding("warning", where, what, f"Give twice max_batch_size: --{name}={needed}.")


def _check_fraction(text: str, where: str) -> Iterator[Finding]:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1
    what = f"--per_process_gpu_memory_fraction is {text}"
    if not 0 < fraction <= 1:
        yield Finding("error", where, f"{what}.", "Give a share of the GPU's memory, such as 0.8.")
    elif fraction > 0.95:
        what += "; the CUDA context needs a few hundred MB beside it."
        yield Finding("warning", where, what, "Give 0.9 or less.")


def _containers(documents: object) -> Iterator[dict[str, object]]:
    """Yield every container or service of TensorFlow Serving in a file, by its image or its name."""
    for value in walk(documents):
        if isinstance(value, dict):
            image = str(value.get("image", ""))
            kserve = value.get("modelFormat") == {"name": "tensorflow"}
            if image.startswith("tensorflow/serving") or value.get("name") == "tensorflow-serving" or kserve:
                yield value


def _arguments(container: Mapping[str, object]) -> list[object]:
    arguments = container.get("args", container.get("command", []))
    return arguments if isinstance(arguments, list) else list(str(arguments).split())


def _health_checked(documents: object) -> Iterator[str]:
    """Yield the models that the health checks in a file name."""
    for value in walk(documents):
        if isinstance(value, list) and _HEALTH_CHECK in value:
            yield from map(str, value[value.index(_HEALTH_CHECK) + 1 :])


def read_variables(environment: str) -> dict[str, str]:
    """Return the variables of an .env file."""
    lines = (line.partition("=") for line in environment.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip('"') for name, equals, value in lines if equals}


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ${NAME} and ${NAME:-default}, as compose does."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda match: variables.get(match[1]) or match[2] or "", text)
