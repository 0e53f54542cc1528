"""Time an export to SavedModel, TFLite and ONNX, beside Keras's own `model.export`, in one process.

    python benchmarks/export_time.py resnet50 squeezenet1_0
    python benchmarks/export_time.py resnet50 --whole

Both sides write the same three float32 artifacts of the same model. `--whole` sets the whole of an export, with every
check, every measurement and the reports, beside Keras's bare writing. Rounds alternate, the median counts, and a first
round that is not counted pays for imports and TensorFlow's start. Other work on the machine lengthens seconds by the
clock; seconds of the processor (user and system, of all threads) stand beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

Steps = dict[str, Callable[[], object]]
Seconds = tuple[float, float]  # by the clock, and of the processor


def keras_steps(model: keras.Model, folder: Path) -> Steps:
    """What a user of Keras calls for the three formats."""
    return {
        "SavedModel": lambda: model.export(folder / "saved_model", format="tf_saved_model", verbose=False),
        "TFLite": lambda: model.export(folder / "model.tflite", format="litert", verbose=False),
        "ONNX": lambda: model.export(folder / "model.onnx", format="onnx", verbose=False),
    }


def our_steps(model: keras.Model, folder: Path) -> Steps:
    """The same three formats from one trace and one freeze, which are steps of their own here."""
    from export.formats.onnx import write_onnx
    from export.formats.saved_model import write_saved_model
    from export.formats.tflite import write_tflite
    from export.tracing.folding import folded
    from export.tracing.graph import TracedModel, trace

    traced: list[TracedModel] = []
    return {
        "trace": lambda: traced.append(trace(model)),
        "freeze": lambda: traced[0].frozen,
        "SavedModel": lambda: write_saved_model(folded(traced[0]), folder / "saved_model"),
        "TFLite": lambda: write_tflite(traced[0], folder / "model.tflite", "float32", None),
        "ONNX": lambda: write_onnx(traced[0], folder / "model.onnx"),
    }


def whole_steps(model: keras.Model, folder: Path) -> Steps:
    """The whole of an export to the three formats."""
    from export.api import run
    from export.opening import LoadedModel, origin_of
    from export.request import Request
    from kerascnn.photos.preprocessing import known_preprocessing

    origin, labels = origin_of(model)
    loaded = LoadedModel(model, origin, known_preprocessing(model), labels)
    return {"all": lambda: run(Request(), loaded, folder / "out")}


def timed(make_steps: Callable[[keras.Model, Path], Steps], model: keras.Model) -> dict[str, Seconds]:
    """Seconds for each step, in a folder of its own."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, step in make_steps(model, Path(folder)).items():
            start, used = time.perf_counter(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):  # the converters talk
                step()
            seconds[name] = (time.perf_counter() - start, time.process_time() - used)
    return seconds


def compare(ours: Callable[[keras.Model, Path], Steps], model: keras.Model, rounds: int) -> list[dict[str, Seconds]]:
    """Median seconds for each step of Keras and of ours."""
    results = []
    for number in range(rounds + 1):
        results.append((timed(keras_steps, model), timed(ours, model)))
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return [
        {
            step: (
                statistics.median(result[side][step][0] for result in results[1:]),
                statistics.median(result[side][step][1] for result in results[1:]),
            )
            for step in results[0][side]
        }
        for side in (0, 1)
    ]


def report(name: str, theirs: dict[str, Seconds], ours: dict[str, Seconds]) -> str:
    """A Markdown table with one line a step."""
    lines = [
        f"| {name} | Keras, s | ours, s | ratio | Keras, processor s | ours, processor s | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for step, seconds in ours.items():
        if step in theirs:
            lines.append(f"| {step} | {_cells(theirs[step], seconds)} |")
        elif len(ours) > 1:
            lines.append(f"| {step} (shared) | | {seconds[0]:.2f} | | | {seconds[1]:.2f} | |")
    lines.append(f"| **all three** | {_cells(_total(theirs), _total(ours))} |")
    return "\n".join(lines)


def _total(steps: dict[str, Seconds]) -> Seconds:
    return sum(clock for clock, _ in steps.values()), sum(used for _, used in steps.values())


def _cells(theirs: Seconds, ours: Seconds) -> str:
    pairs = zip(theirs, ours, strict=True)
    return " | ".join(f"{their:.2f} | {our:.2f} | {our / their:.2f}" for their, our in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of kerascnn models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="time the whole of an export, with its checks")
    arguments = parser.parse_args()

    import kerascnn

    ours = whole_steps if arguments.whole else our_steps
    for name in arguments.models:
        theirs, found = compare(ours, kerascnn.create_model(name), arguments.rounds)
        print(report(name, theirs, found), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
