"""Batching profiles, and the rules that batching parameters must follow.

The rules come from `session_bundle_config.proto` and `bundle_factory_util.cc` of tensorflow/serving, the warnings from
users' reports (tensorflow/serving #1312, #1440, #1529).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.configuration.tfs import messages
from serving.contract import BATCH_SIZES
from serving.findings import Finding

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

_MOST_THREADS = 4  # more batches at once make each of them wait for the one GPU


@dataclass(frozen=True)
class Profile:
    """Batching parameters to start from. None of them was measured on a GPU here."""

    name: str  # also in the name of its file
    purpose: str
    allowed: tuple[int, ...]  # batch sizes; a batch is padded up to the next of them, the last is the largest batch
    timeout: int  # microseconds for which the first request of a batch waits for others
    threads: int  # batches that run at once
    queue: int  # full batches that wait before the server answers UNAVAILABLE (HTTP 503)

    @property
    def largest(self) -> int:
        """The largest batch, and the most images that one request may hold."""
        return self.allowed[-1]

    @property
    def client_threads(self) -> int:
        """The threads for REST and for gRPC: a request holds one while it waits, and two batches of them should."""
        return 2 * self.largest


# All profiles accept the sizes that exported models are warmed up with. A warm-up request larger than max_batch_size
# would fail, and the model would not be loaded.
PROFILES = (
    Profile("latency", "A GPU, answers as soon as possible.", BATCH_SIZES, 2_000, 2, 64),
    Profile("throughput", "A GPU, as many images a second as possible.", BATCH_SIZES, 10_000, 4, 64),
    Profile("cpu", "No GPU: a batch gains little, so requests hardly wait for one.", BATCH_SIZES, 500, 2, 32),
)
_SMALL = 64  # pixels of the longer side
_SMALL_SIZES = (*BATCH_SIZES, 64, 128, 256)


def for_model(side: int) -> Profile | None:
    """Return a profile for small images, which need large batches to keep a GPU busy; None for others.

    `side` is the longer side of the model's images in pixels, 0 if it is not known.
    """
    if not 0 < side <= _SMALL:
        return None
    return Profile("latency", f"A GPU and images of {side} pixels: large batches.", _SMALL_SIZES, 2_000, 2, 64)


def to_message(profile: Profile) -> DynamicMessage:
    """Return the profile as the message that the server reads."""
    message = messages.new("BatchingParameters")
    message.max_batch_size.value = profile.largest
    message.batch_timeout_micros.value = profile.timeout
    message.max_enqueued_batches.value = profile.queue
    message.num_batch_threads.value = profile.threads
    message.thread_pool_name.value = f"{profile.name}_batches"
    message.allowed_batch_sizes.extend(profile.allowed)
    return message


def to_text(profile: Profile, *, per_model: bool = False) -> str:
    """Return the profile as a file for `--batching_parameters_file`, or with `per_model` for one model alone."""
    comment = f"""{profile.purpose} A place to start tuning from, not a measured optimum.
allowed_batch_sizes: a batch is padded up to the next size; the last one equals max_batch_size.
batch_timeout_micros: how long the first request of a batch waits for others.
num_batch_threads: batches at once; on a GPU 1 to 4, whatever the number of CPU cores.
max_enqueued_batches: full batches that wait; beyond them the server answers UNAVAILABLE (HTTP 503) at once."""
    if per_model:
        comment += """
To use it, copy it beside the saved_model.pb that the server reads and add --enable_per_model_batching_parameters=true.
Threads stay those of --batching_parameters_file, which all models share."""
    return messages.to_text(to_message(profile), comment)


def check(message: DynamicMessage, where: str) -> Iterator[Finding]:
    """Find what is wrong with batching parameters, and what would be slow or surprising."""
    is_given = message.HasField
    largest, threads = message.max_batch_size.value, message.num_batch_threads.value
    allowed = list(message.allowed_batch_sizes)
    last = allowed[-1] if allowed else 0
    errors = (
        (is_given("max_batch_size") and largest < 1, f"max_batch_size is {largest}.", "Give 1 or more."),
        (is_given("num_batch_threads") and threads < 1, f"num_batch_threads is {threads}.", "Give 1 or more."),
        (
            allowed != sorted(set(allowed)) or (allowed and allowed[0] < 1),
            f"allowed_batch_sizes {allowed} are not in increasing order from 1 on.",
            "Sort them and leave out repeats.",
        ),
        (
            allowed and last != largest,
            f"The last of allowed_batch_sizes is {last}, max_batch_size is {largest or 'not given'}.",
            f"Make them equal: max_batch_size {{ value: {last} }}.",
        ),
        (
            message.pad_variable_length_inputs,
            "pad_variable_length_inputs is true: smaller photos of a batch get a black border and are misjudged.",
            "Leave it out; serving_bytes takes photos of different sizes.",
        ),
    )
    warnings = (
        (
            is_given("max_execution_batch_size") and not message.enable_large_batch_splitting.value,
            "max_execution_batch_size does nothing without enable_large_batch_splitting.",
            "Turn splitting on, or leave the field out.",
        ),
        (
            not is_given("max_batch_size"),
            "max_batch_size is not given, so batches grow up to 1000 images.",
            "Give what fits into memory, such as 32.",
        ),
        (
            not allowed,
            "There are no allowed_batch_sizes, so every batch size in between is a new shape to warm up.",
            "Give a few, such as 1, 2, 4, 8, 16, 32.",
        ),
        (
            largest != 1 and not message.batch_timeout_micros.value,
            "batch_timeout_micros is 0, so a batch never waits for a second request.",
            "Give 1000 to 5000 (1 to 5 ms), or max_batch_size 1.",
        ),
        (
            threads > _MOST_THREADS or not is_given("num_batch_threads"),
            f"num_batch_threads is {threads if is_given('num_batch_threads') else 'not given'}; on a GPU, batches at "
            "once wait for each other.",
            f"Give 1 to {_MOST_THREADS}.",
        ),
        (
            not is_given("max_enqueued_batches"),
            "max_enqueued_batches is not given, so only 10 batches may wait.",
            "Give more, such as 64.",
        ),
    )
    yield from (Finding("error", where, what, mend) for broken, what, mend in errors if broken)
    yield from (Finding("warning", where, what, mend) for broken, what, mend in warnings if broken)
