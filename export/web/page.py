"""The folder `web/` of an export: the page, the artifacts that run in it, and the JavaScript runtimes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kerascnn
from export.classifying import reading
from export.errors import ExportError
from export.files import link, size_of
from export.web.packages import PACKAGES, copy, packages_for, provide

if TYPE_CHECKING:
    from export.job import Job

FOLDER = "web"
INDEX = "index.html"
MODEL = "model.json"
RUNTIMES = "runtimes"
FILES = Path(__file__).parent / "page"
_TITLES = {"tflite": "LiteRT.js", "onnx": "ONNX Runtime Web"}


def declines(format: str, dtype: str) -> str | None:
    """Say why browsers do not run artifacts of this format and input type; None where they do."""
    if format not in PACKAGES:
        return "Browsers run .tflite and .onnx files."
    return None if dtype == "float32" else f"LiteRT.js takes no {dtype} input."


def write_page(
    folder: Path, artifacts: Sequence[Mapping[str, Any]], job: Job, runtimes: Path | None, step: Callable[[str], None]
) -> dict[str, Any]:
    """Write the page into the folder of an export.

    Args:
        folder: The folder, which holds the artifacts.
        artifacts: What the manifest says of them. Those that no browser runs are left out.
        job: What was exported.
        runtimes: The folder with the JavaScript runtimes; None: they are fetched, or taken from the cache.
        step: Told of a download.

    Returns:
        What the manifest says of the page.

    Raises:
        ExportError: No artifact runs in a browser, or the runtimes cannot be had. No page is left.
    """
    rows = [artifact for artifact in artifacts if _runs(artifact)]
    if not rows:
        raise ExportError("No artifact that a browser could run has passed.")
    packages = packages_for([row["format"] for row in rows])
    source = provide(packages, runtimes, step)
    page = folder / FOLDER
    try:
        shutil.copytree(FILES, page)
        versions = copy(packages, source, page / RUNTIMES)
        for row in rows:
            link(folder / row["path"], page / "models" / row["path"])
        described = describe(rows, job, versions)
        (page / MODEL).write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(page, ignore_errors=True)
        raise
    return {
        "path": f"{FOLDER}/{INDEX}",
        "bytes": size_of(page),
        "artifacts": [row["path"] for row in rows],
        "runtimes": versions,
    }


def _runs(artifact: Mapping[str, Any]) -> bool:
    """Whether an artifact of a manifest runs in the page, as far as is known."""
    refused = any(proof["details"].get("refused") for proof in artifact.get("proofs", ()) if proof["runtime"] == "web")
    return not refused and declines(artifact["format"], artifact["input"]["dtype"]) is None


def _back_ends(artifact: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where an artifact runs in the page: on a GPU only where that is proven."""
    found = (proof["details"].get("webgpu") for proof in artifact.get("proofs", ()) if proof["runtime"] == "web")
    return ("wasm", "webgpu") if any(gpu and gpu["status"] == "proven" for gpu in found) else ("wasm",)


def describe(rows: list[Mapping[str, Any]], job: Job, versions: Mapping[str, str]) -> dict[str, Any]:
    """Say what the page has to know of a network and its artifacts."""
    height, width, channels = job.loaded.model.inputs[0].shape[1:]
    return {
        "name": job.name,
        "classes": job.loaded.model.outputs[0].shape[-1],
        "labels": job.loaded.labels,
        "reading": asdict(reading(job)),
        "scores": rows[0]["output"]["name"] == "scores",
        "artifacts": [
            {
                "path": f"models/{row['path']}",
                "format": row["format"],
                "back_end": back_end,
                "title": f"{_TITLES[row['format']]} {row['precision']}" + (", GPU" if back_end == "webgpu" else ""),
                "bytes": row["bytes"],
                "shape": (1, height, width, channels),
            }
            for row in rows
            for back_end in _back_ends(row)
        ],
        "runtimes": versions,
        "made_by": kerascnn.__version__,
    }
