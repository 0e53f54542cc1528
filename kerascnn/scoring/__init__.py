"""Score photos that are too many for one machine: Ray Data reads and spreads them, each worker holds one network.

The same preprocessing and the same network as everywhere in kerascnn, so that the numbers are those of
`model.predict`. Needs the extra `scoring`; workers on other machines need kerascnn too.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerascnn.scoring.files import find_photos, opened, table_of
from kerascnn.scoring.workers import Network, Scorer

__all__ = ["Network", "Scored", "score"]

MISSING = "Ray Data is not installed, which spreads the work. pip install 'kerascnn[scoring]'"


@dataclass(frozen=True)
class Scored:
    """What came of a call: photos that were scored, that are unreadable, that an earlier call had done.

    examples: (path, error) of a few unreadable ones.
    """

    photos: int
    unreadable: int
    before: int
    seconds: float
    examples: tuple[tuple[str, str], ...] = ()


def score(network: Network, photos: str, output: str, workers: int = 2, batch: int = 32) -> Scored:
    """Score photos into a folder of parquet files; photos that it already has are left out.

    Args:
        network: what scores them.
        photos: a folder, at any depth, or a pattern such as `photos/*.jpg`, whose `*` takes folders too. On this
            machine, or an address such as s3://bucket/photos.
        output: a folder, or such an address.
        workers: networks at work at the same time, each on a processor (or a GPU, where there is one for each).
        batch: photos in a step.

    Raises:
        ValueError: there are no photos or no such weights, or the output is of another network or damaged.
        ModuleNotFoundError: Ray is not installed.
        RuntimeError: a worker failed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ModuleNotFoundError(MISSING) from error
    from ray.data import ActorPoolStrategy

    from kerascnn.weights import fetch

    record = network.record
    if record.format != "kdc":
        fetch(record)  # once, before the workers ask for it
    elif Path(network.weights).is_file():
        network = Network(network.model, str(Path(network.weights).resolve()))
    system, names = find_photos(photos)
    target, folder = opened(output)
    done = _paths_in(output, network)
    left = [name for name in names if name not in done]
    begun = time.monotonic()
    if left:
        gpus = _start(workers)
        try:
            files = ray.data.read_binary_files(left, filesystem=system, include_paths=True)
            rows = files.map_batches(
                Scorer,
                fn_constructor_args=(network,),
                batch_size=batch,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=workers),
                num_cpus=1,
                num_gpus=gpus,
            )
            rows.write_parquet(folder, filesystem=target)
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"A worker failed: {_cause(error)}. The same call goes on with what is left.") from error
    new = _errors_in(output, set(left))
    bad = [(path, error) for path, error in new.items() if error is not None]
    return Scored(len(new) - len(bad), len(bad), len(names) - len(left), time.monotonic() - begun, tuple(bad[:3]))


def _paths_in(output: str, network: Network) -> set[str]:
    """What earlier calls have done."""
    table = table_of(output, ["path", "model", "weights"])
    if table is None:
        return set()
    mine = (network.model, Path(network.weights).name)
    for pair in set(zip(table["model"].to_pylist(), table["weights"].to_pylist(), strict=True)) - {mine}:
        raise ValueError(
            f"{output} holds what {pair[0]} with the weights {pair[1]} has scored, not {mine[0]} with {mine[1]}. Give "
            "another --output."
        )
    return set(table["path"].to_pylist())


def _errors_in(output: str, paths: set[str]) -> dict[str, str | None]:
    """The error of each of those photos, or None."""
    table = table_of(output, ["path", "error"]) if paths else None
    if table is None:
        return {}
    pairs = zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True)
    return {path: error for path, error in pairs if path in paths}


def _start(workers: int) -> int:
    """Start Ray here, or join the cluster that RAY_ADDRESS names; GPUs for each worker."""
    import logging
    import sys

    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not ray.is_initialized():
        own: dict[str, Any] = {}
        if not os.environ.get("RAY_ADDRESS"):
            # one more than the workers, or nobody would be left to read and write
            own = {"num_cpus": max(os.cpu_count() or 1, workers + 1), "include_dashboard": False}
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
    there = ray.cluster_resources()
    if there.get("CPU", 0) < workers + 1:
        raise ValueError(
            f"{workers} workers need {workers + 1} processors, one of them to read and write; the cluster has "
            f"{there.get('CPU', 0):.0f}. Give fewer --workers."
        )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a failure is raised too
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.print_on_execution_start = False
    return 1 if there.get("GPU", 0) >= workers else 0


def _cause(error: BaseException) -> str:
    """What failed first: the last line of the first of the tracebacks that Ray's errors hold as text."""
    first, _, _ = str(error).partition("The above exception was the direct cause")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300].rstrip(".")
