"""Prints how much resident memory a .tflite file takes, in bytes: `python sizes_worker.py FILE THREADS`."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def field(name: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far becomes what it is now
    before = field("VmRSS")
    interpreter = Interpreter(sys.argv[1], num_threads=int(sys.argv[2]))
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
    interpreter.invoke()
    print(max(0, field("VmHWM") - before))
