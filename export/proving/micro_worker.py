"""Runs .tflite files in TFLite Micro: `python -P micro_worker.py`, asked and answered in pickles through pipes.

TFLite Micro may end the process that it is in. What it complains of, and how much of the arena it takes, it writes to
standard error alone, which has to be a file: that is read here.
"""

import os
import pickle
import re
import sys
from typing import Any

import numpy as np
from tflite_micro.python.tflite_micro.runtime import Interpreter

_ALIGNMENT = 16  # bytes


def arena(interpreter: Interpreter) -> dict[str, int]:
    """Return the bytes of the arena that it takes, and of these the activations' and those that stay."""
    interpreter.print_allocations()
    said = os.pread(sys.stderr.fileno(), 1 << 20, 0).decode(errors="replace")
    parts = {"arena_bytes": "total", "activation_bytes": "head", "persistent_bytes": "tail"}
    return {name: int(re.findall(rf"Arena allocation {part} (\d+) bytes", said)[-1]) for name, part in parts.items()}


def least(content: bytes, largest: int) -> tuple[Interpreter, dict[str, int]]:
    """Open a file in the smallest arena that holds it."""
    taken = arena(Interpreter.from_bytes(content, arena_size=largest))
    for size in range(taken["arena_bytes"], largest, _ALIGNMENT):
        try:
            return Interpreter.from_bytes(content, arena_size=size), {**taken, "arena_bytes": size}
        except RuntimeError:  # aligning what is in it takes a few bytes more
            continue
    raise MemoryError(f"{largest} bytes are not enough")


def tensor(details: dict[str, Any]) -> dict[str, Any]:
    """Describe an input or output as LiteRT does."""
    steps = details["quantization_parameters"]
    scale, zero_point = ([*steps["scales"], 0.0][0], [*steps["zero_points"], 0][0])
    shape = tuple(int(size) for size in details["shape"])
    return {"shape": shape, "dtype": np.dtype(details["dtype"]).name, "quantization": (float(scale), int(zero_point))}


def main() -> None:
    """Open a file and its copy with more outputs; then answer (0 for the file and 1 for the copy, input)."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    content, copy, outputs, largest = pickle.load(questions)
    first, taken = least(content, largest)
    models = [(first, 1), (Interpreter.from_bytes(copy, arena_size=largest), outputs)]
    described = [tensor(first.get_input_details(0))]
    described += [tensor(models[1][0].get_output_details(index)) for index in range(outputs)]
    described[1] = tensor(first.get_output_details(0))
    reply: object = (taken, described)
    while True:
        pickle.dump(reply, answers)
        answers.flush()
        try:
            number, image = pickle.load(questions)
        except EOFError:
            return
        model, count = models[number]
        model.set_input(image, 0)
        model.invoke()
        reply = [model.get_output(index) for index in range(count)]


if __name__ == "__main__":
    main()
