"""What a network costs, and what it sees. Names are resolved when first used: comparing needs no Keras."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerascnn.analysis.comparing import Compared, compare
    from kerascnn.analysis.counting import count_connections, count_macs, count_parameters
    from kerascnn.analysis.fields import effective_receptive_field, receptive_field
    from kerascnn.analysis.measuring import Measured
    from kerascnn.analysis.profiling import LayerProfile, Profile, profile

__all__ = [
    "Compared",
    "LayerProfile",
    "Measured",
    "Profile",
    "compare",
    "count_connections",
    "count_macs",
    "count_parameters",
    "effective_receptive_field",
    "profile",
    "receptive_field",
]

_HOMES = {
    "Compared": "comparing",
    "compare": "comparing",
    "Measured": "measuring",
    "count_connections": "counting",
    "count_macs": "counting",
    "count_parameters": "counting",
    "LayerProfile": "profiling",
    "Profile": "profiling",
    "profile": "profiling",
    "effective_receptive_field": "fields",
    "receptive_field": "fields",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"kerascnn.analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kerascnn.analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
