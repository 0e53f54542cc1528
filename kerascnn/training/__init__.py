"""The papers' training recipes, run by Keras's own `fit`.

    from kerascnn.training import Run, changed, recipe, train
    result = train(Run("resnet20_cifar", changed(recipe("resnet_cifar"), epochs=30), Path("cifar10.zip"), Path("runs")))

On the command line: `python -m kerascnn train`. Importing this package imports no Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kerascnn.training.recipes import Augmentation, Recipe, Schedule, changed, list_recipes, recipe, recipe_for

if TYPE_CHECKING:
    from kerascnn.training.fitting import Result, Run, train

__all__ = [
    "Augmentation",
    "Recipe",
    "Result",
    "Run",
    "Schedule",
    "changed",
    "list_recipes",
    "recipe",
    "recipe_for",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("Result", "Run", "train"):
        return getattr(importlib.import_module("kerascnn.training.fitting"), name)
    raise AttributeError(f"module 'kerascnn.training' has no attribute {name!r}")
