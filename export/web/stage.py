"""The last stage of an export with a page: write it, try it, and say what became of it."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.classifying import reading
from export.errors import ExportError
from export.manifest import Failure
from export.web.checking import check_page
from export.web.packages import PACKAGES
from export.web.page import FOLDER, RUNTIMES, write_page

if TYPE_CHECKING:
    from export.context import Context


def add_page(context: Context, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write the page where it was asked for, or where the folder had one before.

    Args:
        context: The export, whose folder holds all artifacts.
        manifest: What is said of them.

    Returns:
        The manifest with what is said of the page. Where it could not be made, that is a failure among the others.
    """
    job, earlier = context.job, context.earlier
    asked, runtimes, formats = job.request.web, None, tuple(PACKAGES)
    if isinstance(asked, Path):
        runtimes = asked
    elif not asked and earlier is not None and earlier.manifest.get("web"):
        # The runtimes of the page that is there make the new one, without npm.
        runtimes = earlier.folder / FOLDER / RUNTIMES
        formats = tuple(name for name, packages in PACKAGES.items() if all(one.found(runtimes) for one in packages))
        asked = bool(formats)
    if not asked:
        return {**manifest, "web": None}
    context.step("writing the page for browsers")
    rows = [artifact for artifact in manifest["artifacts"] if artifact["format"] in formats]
    try:
        page = write_page(context.folder, rows, job, runtimes, context.step)
        proof = check_page(context.folder / FOLDER, reading(job), job.loaded.labels)
        if proof.status == "wrong":
            shutil.rmtree(context.folder / FOLDER)
            raise ExportError(f"It is wrong in Chromium {proof.version}. {proof.reason}")
    except ExportError as error:
        failure = asdict(Failure(FOLDER, "page", str(error)))
        return {**manifest, "web": None, "rejected": [*manifest["rejected"], failure]}
    if proof.status == "not run":
        context.progress.warn(f"{job.name}: the page was not tried in a browser. {proof.reason}")
    return {**manifest, "web": {**page, "proof": asdict(proof)}}
