"""Smaller networks: prune, share weights, fine-tune, and write one small .kdc file.

The steps compose, and each changes the model in place:

    sensitivities = measure(model, images)
    prune(model, 0.7, whole=True, sensitivities=sensitivities)
    cluster(model, bits=6, sensitivities=sensitivities)
    fine_tune(model, images, teacher=original)

`compress` runs them all, to a file size or to a divergence from the original, and records what each costs. In training
of your own, the callback `PruningSchedule` prunes, the optimizer `KeepStructure` keeps what was pruned and shared, and
`quantize_aware` makes the network compute as its int8 files will.
`count` says what is left of both in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes

if TYPE_CHECKING:
    from export.compression.clustering import cluster, round_to_half
    from export.compression.counting import Counted, count
    from export.compression.distillation import fine_tune
    from export.compression.frontier import sweep
    from export.compression.networks import copy
    from export.compression.pruning import prune
    from export.compression.quantizing import quantize_aware
    from export.compression.recipe import compress
    from export.compression.sensitivity import Sensitivity, measure
    from export.compression.states import State, Step, state
    from export.compression.structure import KeepStructure, PruningSchedule

__all__ = [
    "Counted",
    "KeepStructure",
    "PruningSchedule",
    "Sensitivity",
    "State",
    "Step",
    "cluster",
    "compress",
    "copy",
    "count",
    "fine_tune",
    "measure",
    "prune",
    "quantize_aware",
    "round_to_half",
    "state",
    "sweep",
]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "clustering": ("cluster", "round_to_half"),
        "counting": ("Counted", "count"),
        "distillation": ("fine_tune",),
        "frontier": ("sweep",),
        "pruning": ("prune",),
        "quantizing": ("quantize_aware",),
        "networks": ("copy",),
        "recipe": ("compress",),
        "sensitivity": ("Sensitivity", "measure"),
        "states": ("State", "Step", "state"),
        "structure": ("KeepStructure", "PruningSchedule"),
    },
)
