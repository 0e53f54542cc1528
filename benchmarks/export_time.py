"""Time an export to SavedModel, TFLite and ONNX, beside Keras's own `model.export`, in one process.

    python benchmarks/export_time.py resnet50 squeezenet1_0

Both sides write the same three float32 artifacts of the same model. Rounds alternate, the median counts, and a first
round that is not counted pays for imports and TensorFlow's start.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

Steps = dict[str, Callable[[], object]]


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
    from export.tracing.graph import TracedModel, trace

    traced: list[TracedModel] = []
    return {
        "trace": lambda: traced.append(trace(model)),
        "SavedModel": lambda: write_saved_model(traced[0], folder / "saved_model"),
        "freeze": lambda: traced[0].frozen,
        "TFLite": lambda: write_tflite(traced[0], folder / "model.tflite", "float32", None),
        "ONNX": lambda: write_onnx(traced[0], folder / "model.onnx"),
    }


def timed(make_steps: Callable[[keras.Model, Path], Steps], model: keras.Model) -> dict[str, float]:
    """Seconds for each step, in a folder of its own."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, step in make_steps(model, Path(folder)).items():
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):  # the converters talk
                step()
            seconds[name] = time.perf_counter() - start
    return seconds


def compare(model: keras.Model, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds for each step of Keras and of ours."""
    results: list[tuple[dict[str, float], dict[str, float]]] = []
    for _ in range(rounds + 1):
        results.append((timed(keras_steps, model), timed(our_steps, model)))
    theirs, ours = (
        {step: statistics.median(result[side][step] for result in results[1:]) for step in results[0][side]}
        for side in (0, 1)
    )
    return theirs, ours


def report(name: str, theirs: dict[str, float], ours: dict[str, float]) -> str:
    """A Markdown table with one line a step."""
    lines = [f"| {name} | Keras, s | ours, s | ratio |", "|---|---:|---:|---:|"]
    for step, seconds in ours.items():
        if step in theirs:
            lines.append(f"| {step} | {theirs[step]:.2f} | {seconds:.2f} | {seconds / theirs[step]:.2f} |")
        else:
            lines.append(f"| {step} (shared) | | {seconds:.2f} | |")
    total, our_total = sum(theirs.values()), sum(ours.values())
    lines.append(f"| **all three** | {total:.2f} | {our_total:.2f} | **{our_total / total:.2f}** |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of kerascnn models")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    import kerascnn

    for name in arguments.models:
        print(report(name, *compare(kerascnn.create_model(name), arguments.rounds)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
