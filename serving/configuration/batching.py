"""Batching profiles, and the rules that batching parameters must follow.

Sources of the rules: `session_bundle_config.proto` and `bundle_factory_util.cc` of tensorflow/serving; the warnings
come from users' reports (tensorflow/serving #1312, #1440, #1529).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.configuration import messages
from serving.contract import BATCH_SIZES
from serving.findings import Finding

_MOST_THREADS = 4  # more batches at once than this make each of them wait for the one GPU


@dataclass(frozen=True)
class Profile:
    """Batching parameters to start from; none of them was measured on a GPU here.

    allowed: batch sizes; a batch is padded up to the next of them. The last one is the largest batch.
    timeout: microseconds for which the first request of a batch waits for others.
    threads: batches that run at once.
    queue: full batches that wait before the server answers UNAVAILABLE (HTTP 503).
    """

    name: str
    purpose: str
    allowed: tuple[int, ...]
    timeout: int
    threads: int
    queue: int

    @property
    def largest(self) -> int:
        """The largest batch, and the most images that one request may hold."""
        return self.allowed[-1]


# All of them take the sizes that exported models are warmed up with: a larger warm-up request than max_batch_size would
# fail, and with it the loading of the model.
PROFILES = (
    Profile("latency", "A GPU, answers as soon as possible.", BATCH_SIZES, 2_000, 2, 64),
    Profile("throughput", "A GPU, as many images a second as possible.", BATCH_SIZES, 10_000, 4, 64),
    Profile("cpu", "No GPU: a batch gains little, so that requests hardly wait for one.", BATCH_SIZES, 500, 2, 32),
)
_SMALL = 64  # pixels of the longer side
_SMALL_SIZES = (*BATCH_SIZES, 64, 128, 256)


def for_model(side: int) -> Profile | None:
    """A profile of a model's own, where the shared ones fit it badly: images of at most 64 pixels a side need large
    batches to keep a GPU busy."""
    if not 0 < side <= _SMALL:
        return None
    return Profile("latency", f"A GPU and images of {side} pixels: large batches.", _SMALL_SIZES, 2_000, 2, 64)


def to_message(profile: Profile) -> Any:
    """The profile as the message that the server reads."""
    message = messages.batching_parameters()()
    message.max_batch_size.value = profile.largest
    message.batch_timeout_micros.value = profile.timeout
    message.max_enqueued_batches.value = profile.queue
    message.num_batch_threads.value = profile.threads
    message.thread_pool_name.value = f"{profile.name}_batches"
    message.allowed_batch_sizes.extend(profile.allowed)
    return message


def to_text(profile: Profile, *, per_model: bool = False) -> str:
    """The profile as a file for `--batching_parameters_file`, or with `per_model` for one model alone."""
    comment = f"""{profile.purpose} A place to start tuning from, not a measured optimum.
allowed_batch_sizes: a batch is padded up to the next size; the last one equals max_batch_size.
batch_timeout_micros: how long the first request of a batch waits for others.
num_batch_threads: batches at once; on a GPU 1 to 4, whatever the number of CPU cores.
max_enqueued_batches: full batches that wait; beyond them the server answers UNAVAILABLE (HTTP 503) at once."""
    if per_model:
        comment += """
To use it, copy it beside the saved_model.pb that the server reads and add --enable_per_model_batching_parameters=true;
threads stay those of --batching_parameters_file, which all models share."""
    return messages.to_text(to_message(profile), comment)


def check(message: Any, where: str) -> Iterator[Finding]:
    """What is wrong with batching parameters."""
    allowed = list(message.allowed_batch_sizes)
    largest = message.max_batch_size.value
    if message.HasField("max_batch_size") and largest < 1:
        yield Finding("error", where, f"max_batch_size is {largest}.", "Give 1 or more.")
    if message.HasField("num_batch_threads") and message.num_batch_threads.value < 1:
        threads = message.num_batch_threads.value
        yield Finding("error", where, f"num_batch_threads is {threads}.", "Give 1 or more.")
    if allowed != sorted(set(allowed)) or (allowed and allowed[0] < 1):
        what = f"allowed_batch_sizes {allowed} are not in increasing order from 1 on."
        yield Finding("error", where, what, "Sort them and leave out repeats.")
    if allowed and allowed[-1] != largest:
        what = f"The last of allowed_batch_sizes is {allowed[-1]}, max_batch_size is {largest or 'not given'}."
        yield Finding("error", where, what, f"Make them equal: max_batch_size {{ value: {allowed[-1]} }}.")
    if message.HasField("max_execution_batch_size") and not message.enable_large_batch_splitting.value:
        what = "max_execution_batch_size does nothing without enable_large_batch_splitting."
        yield Finding("warning", where, what, "Turn splitting on, or leave the field out.")
    if message.pad_variable_length_inputs:
        what = "pad_variable_length_inputs is true: smaller photos of a batch get a black border and are misjudged."
        yield Finding("error", where, what, "Leave it out; serving_bytes takes photos of different sizes.")
    yield from _warnings(message, where)


def _warnings(message: Any, where: str) -> Iterator[Finding]:
    if not message.HasField("max_batch_size"):
        what = "max_batch_size is not given, so batches grow up to 1000 images."
        yield Finding("warning", where, what, "Give what fits into memory, such as 32.")
    if not message.allowed_batch_sizes:
        what = "There are no allowed_batch_sizes, so that every batch size in between is a new shape to warm up."
        yield Finding("warning", where, what, "Give a few, such as 1, 2, 4, 8, 16, 32.")
    if message.max_batch_size.value != 1 and not message.batch_timeout_micros.value:
        what = "batch_timeout_micros is 0, so that a batch never waits for a second request."
        yield Finding("warning", where, what, "Give 1000 to 5000 (1 to 5 ms), or max_batch_size 1.")
    if message.num_batch_threads.value > _MOST_THREADS or not message.HasField("num_batch_threads"):
        threads = f"is {message.num_batch_threads.value}" if message.HasField("num_batch_threads") else "is not given"
        what = f"num_batch_threads {threads}; on a GPU, batches at once wait for each other."
        yield Finding("warning", where, what, f"Give 1 to {_MOST_THREADS}.")
    if not message.HasField("max_enqueued_batches"):
        what = "max_enqueued_batches is not given, so only 10 batches may wait."
        yield Finding("warning", where, what, "Give more, such as 64.")
