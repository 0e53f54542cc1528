"""Ensembles: several networks as one model that averages their answers.

The multi-column networks of Ciresan et al. 2012 (arXiv:1202.2745) and every winner of ILSVRC since AlexNet average this
way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
from keras import layers

from kerascnn.build_info import BuildInfo, build_info, carry_over, set_build_info
from kerascnn.building.head import head_dtype
from kerascnn.keras_graph import deep_graphs
from kerascnn.layers.ensembling import PhotoPreparation, WeightedMean
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.surgery.logits import ending, without_softmax
from kerascnn.surgery.parts import inference_model

__all__ = ["ensemble"]

Size = tuple[int, int]


def ensemble(
    members: Sequence[keras.Model],
    weights: Sequence[float] | None = None,
    average: Literal["probabilities", "logits"] = "probabilities",
    name: str | None = None,
) -> keras.Model:
    """Build one functional model that answers with the mean of its members' answers.

    Members with the same input size and preprocessing share that input. Otherwise the ensemble takes photos, RGB from 0
    to 255 (gray if every member is), and prepares them for each member inside the graph as the member's preprocessing
    (`kerascnn.build_info`) says. The photos have the size of the largest picture that a member resizes photos to,
    before its crop; where all members resize to the same, of the largest crop. The ensemble's own preprocessing brings
    photos of any size to that.

    The members' layers and weights are shared, not copied; with average="logits" the last layer of a member that ends
    in a softmax is the exception.

    Args:
        members: Classifiers of the same classes that take one image and end in a softmax or in logits. One that is
            listed twice counts twice.
        weights: How much each member counts, relative to the others; the same by default.
        average: "probabilities" for their arithmetic mean; "logits" for the softmax of the mean logits, which is the
            geometric mean of the probabilities, scaled to one.
        name: Name of the model, "ensemble" by default.

    Raises:
        ValueError: There are no members; they differ in their classes, end in features or take more than one input; the
            preprocessing is needed and not known; `weights` or `average` are not as above.
    """
    if average not in ("probabilities", "logits"):
        raise ValueError(f'average must be "probabilities" or "logits"; it is {average!r}.')
    checked = _checked(members)
    shares: dict[int, float] = {}
    for model, share in zip(checked, _shares(weights, len(checked)), strict=True):
        shares[id(model)] = shares.get(id(model), 0.0) + share
    columns = _columns(list({id(model): model for model in checked}.values()))
    image, prepared, preprocessing = _input(columns)
    answers = [_answer(column, x, average) for column, x in zip(columns, prepared, strict=True)]
    mean = WeightedMean(
        [shares[id(column.model)] for column in columns],
        name="predictions" if average == "probabilities" else "mean_logits",
        dtype=head_dtype(),
    )(answers)
    if average == "logits":
        mean = layers.Activation("softmax", dtype=head_dtype(), name="predictions")(mean)
    with deep_graphs():
        model = keras.Model(image, mean, name=name or "ensemble")
    infos = {column.name: build_info(column.model) for column in columns}
    records = {member: info.weights if info else None for member, info in infos.items()}
    set_build_info(model, BuildInfo(preprocessing=preprocessing, members=records))
    return model


@dataclass(frozen=True)
class _Column:
    """A member of an ensemble.

    Attributes:
        model: The member.
        network: The member without auxiliary classifiers.
        name: Its name in the ensemble.
        shape: Shape of its images.
        preprocessing: How photos are prepared for its own input size; None where that is not known.
    """

    model: keras.Model
    network: keras.Model
    name: str
    shape: tuple[int | None, int | None, int]
    preprocessing: Preprocessing | None

    @property
    def crop(self) -> Size:
        """Return the size that the member takes."""
        height, width = self.shape[:2]
        if height and width:
            return height, width
        size = self.preprocessing and (self.preprocessing.crop or self.preprocessing.resize)
        if not isinstance(size, tuple):
            raise ValueError(
                f"{self.model.name} takes images of any size, and the members differ in their preprocessing, so that "
                "the ensemble needs a fixed size for it. Build it with an input_shape such as (224, 224, 3)."
            )
        return size

    @property
    def frame(self) -> Size:
        """Return the size of the picture that the member's crop is cut from."""
        resize = self.preprocessing.resize if self.preprocessing else None
        if isinstance(resize, tuple):
            return resize
        return max(resize or 0, self.crop[0]), max(resize or 0, self.crop[1])


def _checked(members: Sequence[keras.Model]) -> list[keras.Model]:
    if isinstance(members, keras.Model) or not isinstance(members, Sequence):
        raise ValueError(f"An ensemble takes a list of models; it was given a {type(members).__name__}.")
    if not members:
        raise ValueError("An ensemble needs at least one member; the list is empty.")
    classes = []
    for model in members:
        if not isinstance(model, keras.Model):
            raise ValueError(f"The members of an ensemble are Keras models; one is a {type(model).__name__}.")
        network = inference_model(model)
        try:
            inputs, outputs, output = list(network.inputs), list(network.outputs), network.output
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{model.name} has no symbolic input and output (yet); members are functional models."
            ) from error
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(f"{model.name} must take one batch of images; its inputs are {_shapes(inputs)}.")
        if isinstance(output, dict) or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ValueError(
                f"{model.name} must give one vector of class scores an image; its output is {_shapes(outputs)}. Build "
                "it with include_top=True and without features=."
            )
        classes.append(outputs[0].shape[-1])
    if len(set(classes)) > 1:
        counts = ", ".join(f"{model.name} has {count}" for model, count in zip(members, classes, strict=True))
        raise ValueError(f"The members of an ensemble must have the same classes: {counts}.")
    return list(members)


def _shapes(tensors: Sequence[Any]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "nothing"


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    given = np.asarray(weights, np.float64)
    if given.shape != (count,):
        raise ValueError(f"weights must have one number for each of the {count} members; it is {weights!r}.")
    if not np.isfinite(given).all() or (given < 0).any() or not given.any():
        raise ValueError(f"weights must be finite, not negative, and not all zero; it is {weights!r}.")
    return [float(share) for share in given / given.sum()]


def _columns(models: list[keras.Model]) -> list[_Column]:
    _check_sharing(models)
    columns: list[_Column] = []
    taken: set[str] = set()
    for model in models:
        name, count = model.name, 1
        while name in taken:
            count += 1
            name = f"{model.name}_{count}"
        taken.add(name)
        shape = tuple(model.inputs[0].shape[1:])
        info = build_info(model)
        known = info.preprocessing if info else None
        if known is not None and None not in shape[:2]:
            known = known.for_size(*shape[:2])
        columns.append(_Column(model, inference_model(model), name, shape, known))
    return columns


def _check_sharing(models: list[keras.Model]) -> None:
    """Refuse shared weights: Keras saves them once, and loading would leave the other member's random."""
    owners: dict[int, keras.Model] = {}
    for model in models:
        for weight in model.weights:
            owner = owners.setdefault(id(weight), model)
            if owner is not model:
                raise ValueError(
                    f"{owner.name} and {model.name} share weights, and a saved ensemble of them could not be loaded. "
                    "Build one model with their mean as its output, or copy one with keras.models.clone_model."
                )


def _input(columns: list[_Column]) -> tuple[Any, list[Any], Preprocessing | None]:
    """Return the ensemble's input, what each member gets of it, and how photos are prepared for it."""
    first = columns[0]
    if all((column.shape, column.preprocessing) == (first.shape, first.preprocessing) for column in columns):
        image = keras.Input(first.shape, name="images")
        return image, [image] * len(columns), first.preprocessing
    for column in columns:
        if column.preprocessing is None:
            raise ValueError(
                "The members take different inputs, and how photos are prepared for "
                f"{column.model.name} is not known (a .h5 file does not keep it). Note it with "
                "kerascnn.build_info.set_build_info(model, BuildInfo("
                'preprocessing=kerascnn.photos.preprocessing.Preprocessing.named("torch", (224, 224, 3)))).'
            )
        if column.shape[2] not in (1, 3):
            raise ValueError(
                f"The members take different inputs, and {column.model.name} takes {column.shape[2]} channels, which "
                "cannot be made from an RGB photo."
            )
    source, frames = _source(columns)
    channels = max(column.shape[2] for column in columns)
    assert source.crop is not None
    image = keras.Input((*source.crop, channels), name="images")
    if channels == 1:
        source = replace(source, channel_order="gray")
    prepared = []
    for column, frame in zip(columns, frames, strict=True):
        assert column.preprocessing is not None
        prepare = PhotoPreparation(
            frame,
            column.crop,
            column.preprocessing.interpolation,
            column.preprocessing.channel_order,
            column.preprocessing.mean,
            column.preprocessing.std,
            name=f"{column.name}_preparation",
            dtype=head_dtype(),
        )
        prepared.append(prepare(image))
    return image, prepared, source


def _source(columns: list[_Column]) -> tuple[Preprocessing, list[Size | None]]:
    """Return how a photo becomes the ensemble's input, and the size that each member resizes that to (None: as is)."""
    known = [(column, column.preprocessing) for column in columns if column.preprocessing is not None]
    frames = [column.frame for column in columns]
    frame = (max(height for height, _ in frames), max(width for _, width in frames))
    interpolation = max(known, key=lambda pair: pair[0].frame)[1].interpolation
    # Only where every member squeezes the whole photo into its input does the ensemble, too.
    squeezed = all(not isinstance(preprocessing.resize, int) for _, preprocessing in known)
    if len(set(frames)) == 1:
        crop = (max(column.crop[0] for column in columns), max(column.crop[1] for column in columns))
        return Preprocessing(frame if squeezed else max(frame), crop, interpolation), [None] * len(columns)
    return Preprocessing(frame if squeezed else max(frame), frame, interpolation), list(frames)


def _answer(column: _Column, x: Any, average: str) -> Any:
    """Return the member's probabilities, or its logits."""
    end, network = ending(column.network), column.network
    if average == "logits":
        if end == "probabilities":
            raise ValueError(
                f"{column.model.name} is itself an ensemble that averages probabilities, so it has no logits. List its "
                'members, or take average="probabilities".'
            )
        return _nested(column, without_softmax(network) or network)(x)
    answer = _nested(column, network)(x)
    if end == "logits":
        answer = layers.Activation("softmax", dtype=head_dtype(), name=f"{column.name}_probabilities")(answer)
    return answer


def _nested(column: _Column, network: keras.Model) -> keras.Model:
    """Return the network as a layer with a name of its own; the caller's model keeps its name and its graph."""
    with deep_graphs():
        return carry_over(column.model, keras.Model(network.inputs[0], network.outputs[0], name=column.name))
