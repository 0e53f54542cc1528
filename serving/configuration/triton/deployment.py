"""Check what starts Triton: its command line in compose and Kubernetes files, the volume, and KServe's service."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from serving.configuration.documents import walk
from serving.findings import Finding

SERVER = "tritonserver"
_FORMATS = ("onnx", "triton")  # of KServe's runtime for Triton, those that this repository has
_PROTOCOLS = ("v2", "grpc-v2")
_VOLUME = "pvc://"


def known_flags() -> frozenset[str]:
    """Return the names of all flags, without the dashes."""
    text = Path(__file__).with_name("flags.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def check(parsed: Mapping[str, object]) -> Iterator[Finding]:
    """Find what is wrong in {path: parsed documents}."""
    objects = [(name, value) for name, documents in parsed.items() for value in walk(documents)]
    found = [(name, value) for name, value in objects if isinstance(value, dict)]
    claims = {_name(value) for _, value in found if value.get("kind") == "PersistentVolumeClaim"}
    for name, value in found:
        is_kserve = "modelFormat" in value
        if is_kserve or str(value.get("image", "")).startswith(f"nvcr.io/nvidia/{SERVER}"):
            yield from _check_flags(name, value)
        if is_kserve:
            yield from _check_kserve(name, value)
        yield from _check_claim(name, value, claims)


def _check_flags(where: str, container: Mapping[str, object]) -> Iterator[Finding]:
    arguments = container.get("args", container.get("command", []))
    for argument in map(str, arguments) if isinstance(arguments, list) else ():
        flag = argument.removeprefix("--").partition("=")[0]
        if argument == SERVER or (argument.startswith("--") and flag in known_flags()):
            continue
        nearest = difflib.get_close_matches(flag, known_flags(), n=1)
        mend = f"Did you mean --{nearest[0]}?" if nearest else "Leave it out; the server would not start."
        yield Finding("error", where, f"{argument} is not a flag of {SERVER}.", mend)


def _check_kserve(where: str, model: Mapping[str, object]) -> Iterator[Finding]:
    given = model.get("modelFormat")
    kind = given.get("name") if isinstance(given, dict) else given
    if kind not in _FORMATS:
        what = f"modelFormat is {kind!r}; the repository is one of ONNX files."
        yield Finding("error", where, what, "Give name: onnx.")
    protocol = model.get("protocolVersion", "v1")  # which is what KServe takes where none is given
    if protocol not in _PROTOCOLS:
        what = f"protocolVersion is {protocol}, which Triton does not speak: KServe finds no runtime."
        yield Finding("error", where, what, "Give protocolVersion: v2.")
    if not model.get("storageUri"):
        yield Finding("error", where, "It has no storageUri.", "Give that of the repository: pvc://NAME.")


def _check_claim(where: str, value: Mapping[str, object], claims: Collection[str]) -> Iterator[Finding]:
    uri = str(value.get("storageUri", ""))
    claim = uri.removeprefix(_VOLUME).partition("/")[0] if uri.startswith(_VOLUME) else value.get("claimName")
    if claims and claim and claim not in claims:
        yield Finding("error", where, f"There is no volume {claim!r}.", f"There is {', '.join(sorted(claims))}.")


def _name(document: Mapping[str, object]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""
