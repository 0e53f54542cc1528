"""The folders `android/` and `ios/` of an export: a project around its .tflite files, ready to be built and changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kerascnn
from export.classifying import reading
from export.errors import ExportError
from export.files import link, size_of

if TYPE_CHECKING:
    from export.formats.precision import Precision
    from export.job import Job
    from kerascnn.photos.preprocessing import Preprocessing

FORMAT = "tflite"
MODEL = "model.json"


@dataclass(frozen=True)
class Platform:
    """A kind of phone.

    Attributes:
        name: On the command line, in the manifest and of the folder.
        title: What it is called.
        runtime: The package that runs .tflite files there.
        version: Of that package, as the project asks for it.
        assets: Where the files of the network lie in the project.
        marked: The files of the project in which names have to be put.
        has_int4: Whether the runtime has kernels for int4 weights.
    """

    name: str
    title: str
    runtime: str
    version: str
    assets: str
    marked: tuple[str, ...]
    has_int4: bool = True

    @property
    def files(self) -> Path:
        """The project without a network."""
        return Path(__file__).parent / self.name

    def declines(self, precision: Precision) -> str | None:
        """Say why files of a precision do not run there; None where they do."""
        if self.has_int4 or precision.weights not in ("int4", "mixed"):
            return None
        reason = f"{self.runtime} {self.version} is older than LiteRT's int4 kernels"
        return f"{reason}, which they may need" if precision.weights == "mixed" else reason


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            "android",
            "Android",
            "com.google.ai.edge.litert:litert",
            "2.3.2",
            "app/src/main/assets",
            ("app/build.gradle.kts", "app/src/main/AndroidManifest.xml"),
        ),
        Platform(
            "ios",
            "iOS",
            "TensorFlowLiteSwift",
            "2.17.0",
            "Classifier/Model",
            ("Podfile", "Classifier.xcodeproj/project.pbxproj"),
            has_int4=False,
        ),
    )
}


def write_app(folder: Path, artifacts: Sequence[Mapping[str, Any]], job: Job, platform: Platform) -> dict[str, Any]:
    """Write the project of an app into the folder of an export.

    Args:
        folder: The folder, which holds the artifacts.
        artifacts: What the manifest says of them. Those that do not run on the platform are left out.
        job: What was exported.
        platform: Where the app runs.

    Returns:
        What the manifest says of the project.

    Raises:
        ExportError: No artifact runs there. No project is left.
    """
    from export.formats.precision import PRECISIONS

    rows = [row for row in artifacts if row["format"] == FORMAT and not platform.declines(PRECISIONS[row["precision"]])]
    if not rows:
        raise ExportError("No .tflite file that the app could run has passed.")
    project = folder / platform.name
    try:
        shutil.copytree(platform.files, project)
        _put_names(project, platform, job.name)
        for row in rows:
            link(folder / row["path"], project / platform.assets / row["path"])
        text = json.dumps(describe(rows, job), ensure_ascii=False, indent=1)
        (project / platform.assets / MODEL).write_text(text + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(project, ignore_errors=True)
        raise
    return {
        "platform": platform.name,
        "path": platform.name,
        "bytes": size_of(project),
        "artifacts": [row["path"] for row in rows],
        "runtime": {platform.runtime: platform.version},
    }


def describe(rows: Sequence[Mapping[str, Any]], job: Job) -> dict[str, Any]:
    """Say what the app has to know of a network and its files."""
    return {
        "name": job.name,
        "labels": job.loaded.labels,
        "reading": fields_of(reading(job)),
        "scores": rows[0]["output"]["name"] == "scores",
        "artifacts": [
            {
                "path": row["path"],
                "title": f"{row['precision']}, {_size(row['bytes'])}",
                # (scale, zero point) where it is quantized
                **{part: row["steps"].get(row[part]["name"]) for part in ("input", "output")},
            }
            for row in rows
        ],
        "made_by": kerascnn.__version__,
    }


def fields_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """Write a preprocessing with lists where a field may have several types, which Kotlin and Swift read."""
    resize = preprocessing.resize if isinstance(preprocessing.resize, tuple) else (preprocessing.resize,)
    return {
        "resize": [side for side in resize if side is not None],
        "crop": preprocessing.crop or (),
        "interpolation": preprocessing.interpolation,
        "channel_order": preprocessing.channel_order,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
    }


def _size(count: int) -> str:
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _put_names(project: Path, platform: Platform, name: str) -> None:
    """Name the app after the network, with letters that XML, Gradle and Xcode take as they are."""
    letters = re.sub("[^a-z0-9]", "", name.lower())
    names = {
        "name": re.sub(r"[^\w .-]", "", name).strip() or "Classifier",
        "id": f"com.example.{letters if letters[:1].isalpha() else f'net{letters}'}",
        "runtime": platform.version,
    }
    for marked in platform.marked:
        path = project / marked
        text = path.read_text(encoding="utf-8")
        for key, value in names.items():
            text = text.replace(f"{{{{{key}}}}}", value)
        path.write_text(text, encoding="utf-8")
