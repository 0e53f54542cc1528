"""The further runtimes that artifacts can be proven in: one line each."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from export.errors import RequestError, check_known
from export.formats.registry import FORMATS
from export.proving.compiled import Compiled
from export.proving.micro import Micro
from export.proving.openvino import OpenVino
from export.proving.prover import Prover
from export.proving.web import Web

ALL = "all"
_PROVERS: tuple[Prover, ...] = (Compiled(), OpenVino(), Micro(), Web())
PROVERS: Mapping[str, Prover] = {prover.name: prover for prover in _PROVERS}


def chosen(names: Collection[str], formats: Collection[str]) -> tuple[Prover, ...]:
    """Choose provers by name.

    Args:
        names: Any of PROVERS, or "all": those for the formats, of which those that are not installed are recorded as
            not run. The names of the runtimes that verify each format are taken too: they always run.
        formats: The names of the formats that are asked for.

    Raises:
        RequestError: A name is unknown, nothing is asked for that it could prove, or its package is not installed.
    """
    takers: dict[str, tuple[str, ...]] = {format.runtime.name: (name,) for name, format in FORMATS.items()}
    takers |= {prover.name: prover.formats for prover in PROVERS.values()}
    check_known("runtime", names, (ALL, *takers))
    for name in (name for name in names if name != ALL):
        if not set(takers[name]) & set(formats):
            asked = " or ".join(FORMATS[format].option for format in takers[name])
            raise RequestError(
                f"{name} proves {' and '.join(FORMATS[format].title for format in takers[name])} files, and none was "
                f"asked for. Add {asked}."
            )
        missing = PROVERS[name].missing() if name in PROVERS else None
        if missing:
            raise RequestError(f"Artifacts cannot be proven in {PROVERS[name].title}: {missing}")
    fitting = [prover for prover in PROVERS.values() if set(prover.formats) & set(formats)]
    return tuple(prover for prover in fitting if prover.name in names or ALL in names)
