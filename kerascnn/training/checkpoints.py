"""Checkpoints from which a run continues as if it had never stopped.

Keras's own `BackupAndRestore` leaves out the state of the random numbers (dropout, augmentation), of the metrics and of
the other callbacks, and writes over its last good file. Here everything that a step reads is in one file, which is
replaced only by a complete one.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.files import replacing

if TYPE_CHECKING:
    import keras

NAME = "checkpoint.npz"


def save(path: Path, model: keras.Model, state: dict[str, Any]) -> None:
    """Write the variables of a compiled model, its optimizer and its metrics, and `state` (JSON).

    Raises:
        OSError: It could not be written; the file that was there before is untouched.
    """
    import keras

    arrays = {f"v{i}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(_variables(model))}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_state(path: Path) -> dict[str, Any]:
    """Read the `state` of a checkpoint.

    Raises:
        ValueError: It is not a checkpoint, or is damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return json.loads(file["state"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a checkpoint, or is damaged ({error}). Delete it to begin anew.") from None


def restore(path: Path, model: keras.Model) -> None:
    """Give a compiled model, its optimizer and its metrics the values of a checkpoint.

    Raises:
        ValueError: It is of another network.
    """
    variables = _variables(model)
    with np.load(path) as file:
        values = [file[f"v{i}"] for i in range(len(file.files) - 1)]
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise ValueError(f"{path} is of another network. Give another --output, or delete it to begin anew.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    """List what a step reads and writes; `model.variables` holds the seeds of random numbers too."""
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]
