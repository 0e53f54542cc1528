"""Batching by TensorFlow's own scheduler, from the parameters file that TensorFlow Serving reads.

Where the server queues calls of a session, the scheduler in the wheel is reached through the operator BatchFunction: it
is put in front of the function that a signature calls. One queue for each signature, as in the server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import RequestError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Batching:
    """When requests are merged, and how many wait. The defaults are those of the scheduler.

    Attributes:
        max_batch_size: examples in a batch, and in one request unless `split`.
        timeout_micros: how long a batch that is not full waits for more, in microseconds.
        max_enqueued_batches: batches that wait; beyond that a request is refused (UNAVAILABLE).
        threads: batches that run at a time.
        allowed_sizes: sizes that a batch is padded to; none means as it is.
        split: whether a request larger than a batch is divided.
    """

    max_batch_size: int = 1000
    timeout_micros: int = 0
    max_enqueued_batches: int = 10
    threads: int = os.cpu_count() or 1
    allowed_sizes: tuple[int, ...] = ()
    split: bool = False


def read_batching(path: Path) -> Batching:
    """Batching as a parameters file has it (text format of `BatchingParameters`).

    Raises:
        RequestError: it cannot be read, has a field that does not exist, or sizes that the server would refuse.
    """
    from serving import findings
    from serving.configuration import batching, messages

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The batching parameters {path} cannot be read: {error}.") from error
    message = messages.parse(text, messages.batching_parameters(), str(path))
    if wrong := findings.errors(batching.check(message, str(path))):
        raise RequestError("\n".join(map(str, wrong)))
    if message.pad_variable_length_inputs:
        raise RequestError(
            f"{path} sets pad_variable_length_inputs, which the development server cannot do: its scheduler merges "
            "tensors of one shape only. Remove the field here, or use TensorFlow Serving."
        )
    fields = {
        "max_batch_size": "max_batch_size",
        "timeout_micros": "batch_timeout_micros",
        "max_enqueued_batches": "max_enqueued_batches",
        "threads": "num_batch_threads",
    }
    given = {name: getattr(message, field).value for name, field in fields.items() if message.HasField(field)}
    allowed = tuple(message.allowed_batch_sizes)
    split = message.enable_large_batch_splitting.value
    if split and not allowed and message.max_execution_batch_size.value:
        allowed = (message.max_execution_batch_size.value,)
    return Batching(allowed_sizes=allowed, split=split, **given)


def batched(
    inputs: list[tf.Tensor], outputs: list[tf.Tensor], batching: Batching, *, queue: str
) -> list[tf.Tensor] | None:
    """Tensors of the graph that give `outputs` for `inputs` through the scheduler.

    None where that cannot be done: the outputs must all come from one call of one function, as in every SavedModel
    that TensorFlow 2 writes, and have an open first dimension.
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
    results: Any = tf.raw_ops.BatchFunction(
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
