"""What a network costs, and what it sees. Names are resolved when first used: comparing needs no Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes

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

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "comparing": ("Compared", "compare"),
        "counting": ("count_connections", "count_macs", "count_parameters"),
        "fields": ("effective_receptive_field", "receptive_field"),
        "measuring": ("Measured",),
        "profiling": ("LayerProfile", "Profile", "profile"),
    },
)
