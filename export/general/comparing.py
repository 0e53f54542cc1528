"""Compare an artifact with the Keras model, output by output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.checking.parity import RELATIVE_ERROR_LIMIT, SQNR_CEILING_DB
from export.checking.runtimes import TensorSpec
from export.formats.precision import Precision
from export.general.network import Network
from export.general.runtimes import NamedRuntime


@dataclass(frozen=True)
class OutputParity:
    """How close one output is to the model's.

    Attributes:
        name: Its name.
        relative_error: max|difference| / max|reference|; for whole numbers the share that differs.
        sqnr_db: Signal to quantization noise, at most 200 dB.
    """

    name: str
    relative_error: float
    sqnr_db: float


@dataclass(frozen=True)
class NamedParity:
    """How close an artifact is to its model.

    Attributes:
        passed: Whether there is no failure.
        images: How many samples were compared.
        relative_error: The largest of its outputs.
        sqnr_db: The least of its outputs.
        outputs: Each output.
        gate: What was demanded, in words.
        failures: A sentence for each demand that was not met.
    """

    passed: bool
    images: int
    relative_error: float
    sqnr_db: float
    outputs: tuple[OutputParity, ...]
    gate: str
    failures: tuple[str, ...]


def compare(
    open_runtime: Callable[[], NamedRuntime],
    network: Network,
    precision: Precision,
    samples: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
) -> NamedParity:
    """Load an artifact, run it on samples, and compare each output with the Keras model's."""
    failures: list[str] = []
    outputs: list[OutputParity] = []
    try:
        runtime = open_runtime()
        failures += _interface_failures(runtime, network, precision)
        answers = {} if failures else runtime.predict(samples)
    except Exception as error:  # a bad artifact is a finding here, whatever it makes the runtime raise
        reason = " ".join(str(error).split()) or "no reason given"
        failures.append(f"The artifact could not be loaded and run ({type(error).__name__}): {reason[:500]}")
        answers = {}
    for name, theirs in answers.items():
        ours = reference[name]
        if theirs.shape != ours.shape:
            failures.append(f"The shape of {name} is {theirs.shape}; the model's is {ours.shape}.")
        elif not np.isfinite(theirs.astype(np.float64)).all():
            failures.append(f"{name} has NaN or infinity.")
        else:
            outputs.append(_closeness(name, theirs, ours))
            failures += _gate(outputs[-1], precision, ours.dtype.kind)
    return NamedParity(
        not failures,
        len(next(iter(samples.values()))),
        max((output.relative_error for output in outputs), default=math.inf),
        min((output.sqnr_db for output in outputs), default=-math.inf),
        tuple(outputs),
        _demanded(precision),
        tuple(failures),
    )


def _closeness(name: str, theirs: np.ndarray, ours: np.ndarray) -> OutputParity:
    tiny = float(np.finfo(np.float64).tiny)
    if ours.dtype.kind != "f":
        return OutputParity(name, float(np.mean(theirs != ours)), SQNR_CEILING_DB)
    difference = theirs.astype(np.float64) - ours
    noise, signal = float(np.sum(difference**2)), float(np.sum(ours.astype(np.float64) ** 2))
    sqnr = 10 * math.log10(max(signal, tiny) / noise) if noise else SQNR_CEILING_DB
    error = float(np.abs(difference).max() / max(float(np.abs(ours).max()), tiny))
    return OutputParity(name, error, min(sqnr, SQNR_CEILING_DB))


def _gate(output: OutputParity, precision: Precision, kind: str) -> list[str]:
    least = precision.least_sqnr_db
    if kind != "f":
        wrong = least is None and output.relative_error > 0
        return [f"{output.relative_error:.1%} of the numbers of {output.name} differ."] if wrong else []
    if least is None:
        error = output.relative_error
        if error <= RELATIVE_ERROR_LIMIT:
            return []
        return [f"{output.name} differs by {error:.2g} of its largest value; {RELATIVE_ERROR_LIMIT:g} is allowed."]
    if output.sqnr_db >= least:
        return []
    return [f"The SQNR of {output.name} is {output.sqnr_db:.1f} dB; {precision.name} needs {least:g} dB."]


def _demanded(precision: Precision) -> str:
    least = precision.least_sqnr_db
    if least is None:
        return f"relative error of each output <= {RELATIVE_ERROR_LIMIT:g}, whole numbers equal"
    return f"SQNR of each output >= {least:g} dB"


def _interface_failures(runtime: NamedRuntime, network: Network, precision: Precision) -> list[str]:
    failures = []
    for what, declared, wanted in (
        ("input", runtime.inputs, network.inputs),
        ("output", runtime.outputs, network.outputs),
    ):
        given = {spec.name: spec for spec in declared}
        if set(given) != {spec.name for spec in wanted}:
            failures.append(f"Its {what}s are {_listed(declared)}; {_listed(wanted)} were expected.")
            continue
        for spec in wanted:
            tensor = given[spec.name]
            dtype = "int8" if precision.interface == "int8" and spec.dtype == "float32" else spec.dtype
            if tensor.shape[1:] != spec.shape[1:] and None not in tensor.shape[1:]:
                failures.append(f"The {what} {spec.name} has the shape {tensor.shape}; {spec.shape} was expected.")
            if tensor.dtype != dtype:
                failures.append(f"The {what} {spec.name} is {tensor.dtype}; {dtype} was expected.")
    return failures


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)
