"""Fine-tuning in stages: a new head first, then more of the network, until held-out photos are named no better.

    from kerascnn.training.tuning import Tuning, tune
    tuned = tune(Tuning("squeezenet", "imagenet", Path("photos"), Path("runs/mine")))

On the command line: `python -m kerascnn finetune`. Importing this package does not import Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerascnn.lazy import lazy_attributes
from kerascnn.training.tuning.stages import STAGES, Stage, Tuning

if TYPE_CHECKING:
    from kerascnn.training.tuning.fitting import Tuned, tune

__all__ = ["STAGES", "Stage", "Tuned", "Tuning", "tune"]

__getattr__, __dir__ = lazy_attributes(__name__, {"fitting": ("Tuned", "tune")})
