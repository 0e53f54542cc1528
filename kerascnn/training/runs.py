"""A training run as it is asked for, and what came of it. Importing this module imports no Keras."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerascnn import registry
from kerascnn.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preprocessing import Preprocessing

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Run:
    """What is trained, on what and how.

    Attributes:
        model: Name of the variant.
        recipe: The paper's settings.
        data: The images, see `kerascnn.training.data.open_data`.
        output: Folder of the checkpoint, the history and the results; it is created if it does not exist.
        validation: The images to validate with, see `open_data`.
        input_size: Side of the input in pixels; by default the network's own.
        weights: The weights to begin with, by name or as a file; by default random ones.
        seed: The seed of the first weights, the order of the images and the augmentation.
        max_time: Seconds after which training stops, to be continued later; None for no limit.
        precision: The precision of the arithmetic; weights are kept in float32.
        jit: Whether XLA compiles the step. By default only on JAX, because TensorFlow's own kernels are faster on the
            CPU and its XLA has none for the layers that move pixels.
        tensorboard: Whether to write logs for TensorBoard to the folder too.
        half: Whether to round the finished weights to float16, which halves their file.
        every: Seconds between two checkpoints within an epoch; there is always one after each epoch.
    """

    model: str
    recipe: Recipe
    data: Path
    output: Path
    validation: Path | None = None
    input_size: int | None = None
    weights: str | None = None
    seed: int = 0
    max_time: float | None = None
    precision: Precision = "float32"
    jit: bool | None = None
    tensorboard: bool = False
    half: bool = False
    every: float = 300.0

    @property
    def side(self) -> int:
        """Side of the network's input in pixels."""
        return self.input_size or registry.variant(self.model).input_shape[0]

    def facts(self, images: int, classes: Sequence[str]) -> dict[str, Any]:
        """Return what must stay the same for a run to be continued, as JSON gives it back."""
        return {
            "model": self.model,
            "recipe": _as_json(asdict(self.recipe)),
            "data": self.data.name,
            "images": images,
            "classes": list(classes),
            "input_size": self.input_size,
            "weights": self.weights and Path(self.weights).name,
            "seed": self.seed,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        model: The network as it is used: without augmentation, auxiliary classifiers and dropped paths.
        preprocessing: How photos are prepared for it.
        classes: Names of the classes.
        history: A row for each epoch; empty on other workers than the first.
        seconds: How long the run took, with its earlier parts.
        finished: False if its time was over first.
        accuracy: Share of the validation images that the network classifies correctly.
        skipped: (name, reason) of files that are not readable images.
        images: How many images it was trained and validated with.
    """

    model: keras.Model
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    history: Sequence[Mapping[str, float]]
    seconds: float
    finished: bool
    accuracy: float
    skipped: Sequence[tuple[str, str]]
    images: tuple[int, int]


RUN_FILES = (
    "run.json",
    "training.json",
)  # what fine-tuning and training write last, with the name of the network's file


@dataclass(frozen=True)
class Finished:
    """What a run has left in its folder.

    Attributes:
        model: The network.
        calibration: Photos of those that it was trained on, to quantize it with; None where the run kept none.
    """

    model: Path
    calibration: Path | None = None


def find_finished(folder: Path) -> Finished | None:
    """Find what a run has left in a folder; None where no run has come to an end there.

    Raises:
        ValueError: What the run said of it cannot be read, or the network is gone.
    """
    for path in (folder / name for name in RUN_FILES if (folder / name).is_file()):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            model, calibration = folder / facts["file"], facts.get("calibration")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}). Run the same training again to write it anew."
            ) from None
        if not model.is_file():
            raise ValueError(f"{path} names {model.name}, which is not there. Run the same training again.")
        return Finished(model, folder / calibration["file"] if calibration else None)
    return None


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
