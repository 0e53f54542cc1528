"""A last stage of an export with apps: write their projects, and say what became of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from export.app.project import PLATFORMS, write_app
from export.errors import ExportError
from export.manifest import Failure

if TYPE_CHECKING:
    from export.context import Context


def add_apps(context: Context, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write the projects that were asked for, and those that the folder had before.

    Args:
        context: The export, whose folder holds all artifacts.
        manifest: What is said of them.

    Returns:
        The manifest with what is said of the projects. One that could not be made is a failure among the others.
    """
    before = context.earlier.manifest.get("apps", ()) if context.earlier is not None else ()
    wanted = {*context.job.request.apps, *(app["platform"] for app in before)}
    apps, rejected = [], list(manifest["rejected"])
    for platform in (platform for platform in PLATFORMS.values() if platform.name in wanted):
        context.step(f"writing the app for {platform.title}")
        try:
            apps.append(write_app(context.folder, manifest["artifacts"], context.job, platform))
        except ExportError as error:
            rejected.append(asdict(Failure(platform.name, "app", str(error))))
    return {**manifest, "apps": apps, "rejected": rejected}
