"""Warm-up requests of a model, held against the batching that they will meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.contract.warmup import read_warmup
from serving.findings import Finding


def batch_sizes(version: Path) -> dict[str, set[int]]:
    """{signature: sizes of its warm-up requests} of the version in this folder; empty without any, or unreadable ones.

    Whether the requests can be read and answered is for `doctor`, which replays them.
    """
    sizes: dict[str, set[int]] = {}
    try:
        for request in read_warmup(version):
            sizes.setdefault(request.signature, set()).add(request.batch)
    except ValueError:
        return {}
    return sizes


def check(sizes: Mapping[str, Collection[int]], message: Any, model: str, batching: str) -> Iterator[Finding]:
    """What is wrong between a model's warm-up (see `batch_sizes`) and batching parameters."""
    largest = message.max_batch_size.value if message.HasField("max_batch_size") else 1000
    splitting = message.enable_large_batch_splitting.value
    for signature, warmed in sorted(sizes.items()):
        if max(warmed) > largest and not splitting:
            what = (
                f"A warm-up request of {signature} holds {max(warmed)} images; {batching} allows {largest}. "
                "The server refuses to load a model whose warm-up fails."
            )
            yield Finding("error", model, what, f"Raise max_batch_size to {max(warmed)}, or export with less.")
        if cold := sorted(set(message.allowed_batch_sizes) - set(warmed)):
            what = f"{signature} is not warmed up for batches of {', '.join(map(str, cold))}, which {batching} allows."
            yield Finding(
                "warning", model, what, "The first of them will be slow. Leave them out of allowed_batch_sizes."
            )
