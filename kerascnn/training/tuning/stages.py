"""What is fine-tuned and how, as records. Importing this module imports no Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kerascnn import registry
from kerascnn.training.recipes import Augmentation, Recipe
from kerascnn.training.runs import Run

PATIENCE = 3  # epochs without a lower loss on held-out photos, after which a stage ends


@dataclass(frozen=True)
class Stage:
    """A part of a run in which the same layers are trained.

    Attributes:
        title: What is trained.
        share: The share of the layers with weights that is trained, from the end; 0 for the new head alone.
        rate: What the learning rate of the run is multiplied by.
        epochs: How many epochs it may last; None for the rest of the run.
    """

    title: str
    share: float
    rate: float
    epochs: int | None


# A new head gives large gradients, which would ruin what the layers below have learned. Those that are nearest to the
# head are the most particular to the old classes.
STAGES = (
    Stage("the new head", 0.0, 1.0, 5),
    Stage("the upper half of the layers", 0.5, 0.1, 5),
    Stage("all layers", 1.0, 0.03, None),
)


@dataclass(frozen=True)
class Tuning:
    """What is fine-tuned, on what and how.

    Attributes:
        model: Name of the variant.
        weights: The weights to begin with, by name or as a file.
        data: Photos in a folder or a zip, each in a folder named after its class.
        output: Folder of the checkpoint, the history and the results; it is created if it does not exist.
        validation: Photos to validate with; by default a test part of `data`, or one of five photos of each class.
        input_size: Side of the input in pixels; by default that of the weights.
        epochs: Passes over the photos, at most.
        batch: Photos in a step, at most.
        rate: Learning rate of the new head.
        max_time: Seconds after which training stops, to be continued later; None for no limit.
        seed: The seed of the new head, the order of the photos and the augmentation.
    """

    model: str
    weights: str
    data: Path
    output: Path
    validation: Path | None = None
    input_size: int | None = None
    epochs: int = 15
    batch: int = 16
    rate: float = 1e-3
    max_time: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the network that comes out: that of the folder."""
        return self.output.resolve().name

    @property
    def side(self) -> int:
        """Side of the network's input in pixels."""
        from kerascnn.weights import find

        record = find(self.model, self.weights)
        crop = (record.preprocessing or {}).get("crop") if record is not None else None
        return self.input_size or (crop[0] if crop else registry.variant(self.model).input_shape[0])

    def run(self) -> Run:
        """Return it as a training run, with a recipe of its own."""
        side = self.side
        gray = registry.variant(self.model).input_shape[2] == 1  # digits and signs are no longer themselves in a mirror
        recipe = Recipe(
            name="finetune",
            title="fine-tuning in stages",
            source="kerascnn",
            models=(self.model,),
            input_size=side,
            batch=self.batch,
            epochs=self.epochs,
            rate=self.rate,
            optimizer="adam",
            augmentation=Augmentation(
                flip=not gray, crop_padding=side // 14, zoom=0.15, colour_jitter=0.0 if gray else 0.2
            ),
            any_size=True,
        )
        return Run(
            self.model,
            recipe,
            self.data,
            self.output,
            self.validation,
            side,
            self.weights,
            self.seed,
            self.max_time,
        )
