"""Which naming a checkpoint follows."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from kerascnn.weights.reading import Checkpoint

Naming = Callable[[Iterable[str]], Mapping[str, str]]

TORCH_EPSILON = 1e-5


@dataclass(frozen=True)
class Family:
    """What is known of a family's layers in the files of other packages.

    Attributes:
        namings: By name.
        head: The layers that include_top=False leaves out.
        options: By naming, the builder options that its networks have.
        epsilons: By naming, the epsilon of batch normalizations, where it is not torch's.
        left_out: By naming, prefixes of arrays that a model need not use.
    """

    namings: Mapping[str, Naming] = field(default_factory=dict)
    head: Sequence[str] = ("predictions",)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    epsilons: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def candidates(self, layout: str) -> dict[str, Naming]:
        """Return the namings of files of one layout; of Keras's files, also our own."""
        of_keras = {name: naming for name, naming in self.namings.items() if name.startswith("keras")}
        if layout == "torch":
            return {name: naming for name, naming in self.namings.items() if name not in of_keras}
        return {"own": lambda layers: {layer: layer for layer in layers}, **of_keras}

    def epsilon(self, naming: str, layout: str) -> float | None:
        """Return the epsilon of batch normalizations; None where it is Keras's."""
        return self.epsilons.get(naming, TORCH_EPSILON if layout == "torch" else None)


def family(name: str) -> Family:
    """Read the module of a family; families without one have our own names alone."""
    path = f"{__package__}.{name}"
    if importlib.util.find_spec(path) is None:
        return Family()
    module: ModuleType = importlib.import_module(path)
    return Family(
        namings={naming: getattr(module, naming) for naming in module.__all__},
        head=getattr(module, "HEAD", Family.head),
        options=getattr(module, "OPTIONS", {}),
        epsilons=getattr(module, "EPSILON", {}),
        left_out=getattr(module, "LEFT_OUT", {}),
    )


def best_naming(checkpoint: Checkpoint, layers: Sequence[str], candidates: Mapping[str, Naming]) -> str | None:
    """Return the naming under which the checkpoint has most of the layers; None where it has none of them."""
    scores = {
        name: sum(prefix in checkpoint.layers for prefix in naming(layers).values())
        for name, naming in candidates.items()
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] else None
