"""What compiling a network with XLA costs a server while it warms up: `python benchmarks/xla_warmup.py squeezenet`.

XLA compiles for each size of a batch. The table has the seconds of the first call and the milliseconds of later ones,
with and without XLA, on this machine's CPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from export.tracing.graph import trace
from kerascnn import create_model
from serving.contract import BATCH_SIZES


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCH_SIZES)
    arguments = parser.parse_args()
    print("| network | batch | first call, s | with XLA, s | later calls, ms | with XLA, ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in arguments.models:
        traced = trace(create_model(name, weights=None))
        plain = tf.function(traced.function)
        compiled = tf.function(traced.function, jit_compile=True)
        for batch in arguments.batches:
            images = tf.constant(np.zeros((batch, *traced.input_shape[1:]), np.float32))
            (first, later), (xla_first, xla_later) = (_timed(call, images) for call in (plain, compiled))
            print(f"| {name} | {batch} | {first:.1f} | {xla_first:.1f} | {later:.0f} | {xla_later:.0f} |", flush=True)


def _timed(call: Callable[[tf.Tensor], dict[str, tf.Tensor]], images: tf.Tensor) -> tuple[float, float]:
    """Return the seconds of the first call and the median of ten later ones in milliseconds."""
    times = []
    for _ in range(11):
        begin = time.perf_counter()
        for output in call(images).values():
            output.numpy()
        times.append(time.perf_counter() - begin)
    return times[0], 1000 * statistics.median(times[1:])


if __name__ == "__main__":
    main()
