"""The papers' training recipes, run by Keras's own `fit`.

    from kerascnn.training import Run, changed, recipe, train
    result = train(Run("resnet20_cifar", changed(recipe("resnet_cifar"), epochs=30), Path("cifar10.zip"), Path("runs")))

On the command line: `python -m kerascnn train`. Importing this package does not import Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes
from kerascnn.training.recipes import Augmentation, Recipe, Schedule, changed, list_recipes, recipe, recipe_for

if TYPE_CHECKING:
    from kerascnn.training.fitting import train
    from kerascnn.training.runs import Result, Run

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

__getattr__, __dir__ = lazy_attributes(__name__, {"fitting": ("train",), "runs": ("Result", "Run")})
