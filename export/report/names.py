"""What reports call formats and artifacts, and the color of each format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.formats.registry import FORMATS
from kerascnn.analysis.pages.vega import COLORS

KERAS, CODED = "Keras", ".kdc"
TITLES = {name: format.title for name, format in FORMATS.items()}
FORMAT_COLORS = dict(zip((KERAS, *TITLES.values(), CODED), (COLORS[i] for i in (7, 0, 1, 2, 3)), strict=True))


def title(artifact: Mapping[str, Any]) -> str:
    """Return what an artifact is called, such as `TFLite int8`."""
    return f"{TITLES[artifact['format']]} {artifact['precision']}"
