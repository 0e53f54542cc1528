"""Scores for more photos than one machine can take: Ray Data reads and spreads them, and each worker has one network.

Preprocessing and networks are those of all of kerascnn, so the numbers are those of `model.predict`. It needs the extra
`scoring`; workers on other machines need kerascnn too.
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

MISSING = "Ray Data, which spreads the work, is not installed: pip install 'kerascnn[scoring]'"


@dataclass(frozen=True)
class Scored:
    """What came of a call.

    Attributes:
        photos: How many were scored.
        unreadable: How many could not be read.
        before: How many an earlier call had done.
        seconds: How long it took.
        examples: (path, error) of a few unreadable photos.
    """

    photos: int
    unreadable: int
    before: int
    seconds: float
    examples: tuple[tuple[str, str], ...] = ()


def score(network: Network, photos: str, output: str, workers: int = 2, batch: int = 32) -> Scored:
    """Score photos into a folder of parquet files, except those that it already holds.

    Args:
        network: The network that scores them.
        photos: A folder, whose photos are found at any depth, or a pattern such as `photos/*.jpg`, whose `*` matches
            folders too; on this machine, or an address such as s3://bucket/photos.
        output: A folder, or such an address.
        workers: Networks that work at the same time, each on a processor (or a GPU, if there is one for each).
        batch: Photos in a step.

    Returns:
        How many photos were scored.

    Raises:
        ValueError: There are no photos or no such weights, or the output is of another network or damaged.
        ModuleNotFoundError: Ray is not installed.
        RuntimeError: A worker failed.
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
            raise RuntimeError(f"A worker failed: {_cause(error)}. Call it again to continue with the rest.") from error
    new = _errors_in(output, set(left))
    bad = [(path, error) for path, error in new.items() if error is not None]
    return Scored(len(new) - len(bad), len(bad), len(names) - len(left), time.monotonic() - begun, tuple(bad[:3]))


def _paths_in(output: str, network: Network) -> set[str]:
    """Return the paths that earlier calls have done."""
    table = table_of(output, ["path", "model", "weights"])
    if table is None:
        return set()
    mine = (network.model, Path(network.weights).name)
    for model, weights in set(zip(table["model"].to_pylist(), table["weights"].to_pylist(), strict=True)) - {mine}:
        raise ValueError(
            f"{output} holds scores of {model} with the weights {weights}, not of {mine[0]} with {mine[1]}. Give "
            "another --output."
        )
    return set(table["path"].to_pylist())


def _errors_in(output: str, paths: set[str]) -> dict[str, str | None]:
    """Return the error of each of those photos, or None."""
    table = table_of(output, ["path", "error"]) if paths else None
    if table is None:
        return {}
    pairs = zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True)
    return {path: error for path, error in pairs if path in paths}


def _start(workers: int) -> int:
    """Start Ray here, or join the cluster that RAY_ADDRESS names; return how many GPUs each worker gets."""
    import logging
    import sys

    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not ray.is_initialized():
        own: dict[str, Any] = {}
        if not os.environ.get("RAY_ADDRESS"):
            # One more than the workers, because reading and writing need one too.
            own = {"num_cpus": max(os.cpu_count() or 1, workers + 1), "include_dashboard": False}
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
    resources = ray.cluster_resources()
    if resources.get("CPU", 0) < workers + 1:
        raise ValueError(
            f"{workers} workers need {workers + 1} processors, one of them to read and write; the cluster has "
            f"{resources.get('CPU', 0):.0f}. Give fewer --workers."
        )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # failures are raised anyway
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.print_on_execution_start = False
    return 1 if resources.get("GPU", 0) >= workers else 0


def _cause(error: BaseException) -> str:
    """Find what failed first: the last line of the first of the tracebacks in the text of Ray's error."""
    first, _, _ = str(error).partition("The above exception was the direct cause")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300].rstrip(".")
