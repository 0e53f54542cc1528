"""manifest.json: what was exported, from what, with which versions, and what was measured (see docs/manifest.md)."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.files import digest_of, files_of, size_of

if TYPE_CHECKING:
    from export.checking.accuracy import Accuracy
    from export.checking.latency import Latency
    from export.checking.parity import Parity
    from export.checking.runtimes import TensorSpec
    from export.checking.sizes import Sizes
    from export.job import Job
    from export.opening import Origin
    from export.request import Item

SCHEMA_VERSION = 1
_PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


def artifact_entry(
    folder: Path,
    item: Item,
    path: str,
    specs: tuple[TensorSpec, TensorSpec],
    parity: Parity,
    latency: Latency,
    accuracy: Accuracy | None,
    sizes: Sizes,
) -> dict[str, Any]:
    """What the manifest says of one artifact, a file or a folder."""
    source, target = specs
    return {
        "path": path,
        "format": item.format,
        "precision": item.precision,
        "bytes": size_of(folder / path),
        "sizes": sizes.numbers(),
        "packed": asdict(sizes.packed) if sizes.packed else None,
        "sha256": digest_of(folder / path),
        "input": asdict(source),
        "output": asdict(target),
        "parity": asdict(parity),
        "latency": asdict(latency),
        "accuracy": asdict(accuracy) if accuracy else None,
    }


def make(origin: Origin, **parts: Any) -> dict[str, Any]:
    """The manifest's head, followed by the parts that the pipeline measured."""
    import kerascnn

    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"name": origin.name, "variant": origin.variant, "options": dict(origin.options)},
        "weights": {"trained": origin.trained, "source": dict(origin.weights) if origin.weights else None},
        "versions": {"kerascnn": kerascnn.__version__, "python": platform.python_version(), **versions()},
        **parts,
    }


def metadata(job: Job) -> dict[str, str]:
    """What an ONNX file says of itself: model, labels and preprocessing, as JSON texts."""
    origin, labels, preprocessing = job.loaded.origin, job.loaded.labels, job.reading
    values = {"model": origin.name}
    if origin.trained is not None:
        values["trained"] = json.dumps(origin.trained)
    if labels:
        values["labels"] = json.dumps(labels, ensure_ascii=False)
    if preprocessing:
        values["preprocessing"] = json.dumps(asdict(preprocessing))
    return values


def versions() -> dict[str, str]:
    """Installed versions of the packages that take part in an export."""
    found = {}
    for package in _PACKAGES:
        for name in (package, f"{package}-cpu"):  # TensorFlow's smaller wheel has another name
            try:
                found[package] = importlib.metadata.version(name)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def write(manifest: dict[str, Any], folder: Path) -> None:
    """Write manifest.json, which also names every file of the folder so that a later export can replace it."""
    named = [file.relative_to(folder).as_posix() for file in files_of(folder)]
    text = json.dumps({**manifest, "files": named}, indent=2, ensure_ascii=False, default=list, allow_nan=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
