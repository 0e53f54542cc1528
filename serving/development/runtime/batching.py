"""Batching by TensorFlow's own scheduler, from the parameters file that TensorFlow Serving reads.

The real server queues calls of a session. The scheduler in the wheel is reached through the operator BatchFunction,
which is put in front of the function that a signature calls. As in the real server, each signature has one queue.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving import findings
from serving.configuration.tfs import batching as rules
from serving.configuration.tfs import messages
from serving.development.statuses import Code, StatusError, invalid
from serving.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclass(frozen=True)
class Batching:
    """When requests are merged, and how many wait. The defaults are those of the scheduler."""

    max_batch_size: int = 1000  # examples in a batch, and in one request unless `split`
    timeout_micros: int = 0  # microseconds that a batch waits for more requests before it is full
    max_enqueued_batches: int = 10  # batches that wait; beyond them a request is refused (UNAVAILABLE)
    threads: int = os.cpu_count() or 1  # batches that run at a time
    allowed_sizes: tuple[int, ...] = ()  # that a batch is padded to; it is not padded if empty
    split: bool = False  # whether a request larger than a batch is divided


def read_batching(path: Path) -> Batching:
    """Read a parameters file (text format of `BatchingParameters`).

    Raises:
        RequestError: It cannot be read, has an unknown field, or has sizes that the server would refuse.
    """
    message = messages.read(path, "BatchingParameters", "batching parameters")
    if wrong := findings.errors(rules.check(message, str(path))):
        raise RequestError("\n".join(map(str, wrong)))
    fields = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    names = ("max_batch_size", "timeout_micros", "max_enqueued_batches", "threads")
    pairs = [(name, field) for name, field in zip(names, fields, strict=True) if message.HasField(field)]
    given = {name: getattr(message, field).value for name, field in pairs}
    allowed = tuple(message.allowed_batch_sizes)
    split = message.enable_large_batch_splitting.value
    if split and not allowed and message.max_execution_batch_size.value:
        allowed = (message.max_execution_batch_size.value,)
    return Batching(allowed_sizes=allowed, split=split, **given)


def check_rows(inputs: Mapping[str, np.ndarray], batching: Batching) -> int:
    """Return the rows of a request; refuse one that cannot be part of a batch.

    One without rows is refused too. The real server keeps it, and a thread, until a request with rows comes for the
    same signature.
    """
    if not inputs:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(not value.ndim for value in inputs.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(value) for value in inputs.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    (rows,) = sizes
    if not rows:
        raise invalid(f"Input {min(inputs)} has no rows; a batching server would not answer.")
    if rows > batching.max_batch_size and not batching.split:
        raise invalid(f"Task size {rows} is larger than maximum input batch size {batching.max_batch_size}")
    return rows


def pad(inputs: Mapping[str, np.ndarray], rows: int, batching: Batching) -> tuple[dict[str, np.ndarray], int]:
    """Fill a batch up with its first row to the next allowed size; return it and the size."""
    import numpy as np

    size = next((size for size in batching.allowed_sizes if size >= rows), rows)
    if size == rows:
        return dict(inputs), rows
    return {name: np.concatenate([value, np.repeat(value[:1], size - rows, 0)]) for name, value in inputs.items()}, size


def unpad(outputs: Mapping[str, np.ndarray], rows: int, size: int) -> dict[str, np.ndarray]:
    """Return the rows of a request from the outputs for a batch of `size`; refuse outputs that are no batch."""
    for value in outputs.values():
        if not value.ndim:
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(value) != size:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
    return {name: value[:rows] for name, value in outputs.items()}


def batched(
    inputs: list[tf.Tensor], outputs: list[tf.Tensor], batching: Batching, *, queue: str
) -> list[tf.Tensor] | None:
    """Return tensors of the graph that give `outputs` for `inputs` through the scheduler.

    None if the outputs do not all come from one call of one function, as they do in every SavedModel that TensorFlow 2
    writes, or have no open first dimension.
    """
    import tensorflow as tf

    call = outputs[0].op
    if call.type not in ("PartitionedCall", "StatefulPartitionedCall") or any(t.op is not call for t in outputs):
        return None
    if any(not t.shape.rank or t.shape[0] is not None for t in [*inputs, *outputs]):
        return None
    fed = {t.ref() for t in inputs}
    arguments = list(call.inputs)
    if [t.ref() in fed for t in arguments] != [True] * len(inputs) + [False] * (len(arguments) - len(inputs)):
        return None
    results = tf.raw_ops.BatchFunction(
        in_tensors=arguments[: len(inputs)],
        captured_tensors=arguments[len(inputs) :],
        f=call.get_attr("f"),
        num_batch_threads=batching.threads,
        max_batch_size=batching.max_batch_size,
        batch_timeout_micros=batching.timeout_micros,
        max_enqueued_batches=batching.max_enqueued_batches,
        allowed_batch_sizes=list(batching.allowed_sizes),
        Tout=[t.dtype for t in call.outputs],
        shared_name=queue,
        enable_large_batch_splitting=batching.split,
    )
    return [results[t.value_index] for t in outputs]
