"""The page at the root: drop a photo, and see the five likeliest classes of each served model."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from serving.contract import BYTES_SIGNATURE
from serving.development.version_table import State

if TYPE_CHECKING:
    from serving.development.version_table import Table

HEADERS = {
    # Everything is in the page itself. The name of a class or a model cannot load anything else.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_PLACE = "__MODELS__"


def render(table: Table) -> str:
    """Return the page for the models that are configured right now."""
    models = [_describe(table, name) for name in table.names()]
    # Only "<" could end the script element.
    return _template().replace(_PLACE, json.dumps(models).replace("<", "\\u003c"))


def _describe(table: Table, name: str) -> dict[str, object]:
    versions = table.versions(name)
    loaded = next((v for v in versions if v.state is State.AVAILABLE and v.servable is not None), None)
    if loaded is None or loaded.servable is None:
        why = next((v.message for v in versions if v.message), "no version was found")
        return {"name": name, "version": None, "input": None, "why": f"Not served: {why}"}
    signature = loaded.servable.signature(BYTES_SIGNATURE)
    if signature is None or len(signature.inputs) != 1:
        return {"name": name, "version": loaded.number, "input": None, "why": f"It has no signature {BYTES_SIGNATURE}."}
    return {"name": name, "version": loaded.number, "input": next(iter(signature.inputs)), "why": ""}


@cache
def _template() -> str:
    return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
