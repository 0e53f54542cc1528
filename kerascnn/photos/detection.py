"""OverFeat's evaluation over scales, and its bounding boxes (Sermanet et al. 2013, arXiv:1312.6229).

What works on maps of class scores here takes any model that gives them; `overfeat_fast(dense=True)` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from kerascnn.building.blocks import DATA_FORMAT, INITIALIZER, conv


def multi_scale_scores(model: keras.Model, scales: Sequence[Any]) -> np.ndarray:
    """Class scores of images at several sizes (section 3.3): the best position of each, and the mean over all.

    Args:
        model: gives a map of scores, such as `overfeat_accurate(dense="fine", input_shape=(None, None, 3))`.
        scales: the same images at each size, arrays of (batch, height, width, channels), as the model takes them.
            Each is also evaluated flipped from left to right.

    Returns:
        (batch, classes): for each class the spatial maximum, averaged over sizes and flips.

    Raises:
        ValueError: the model gives no maps, or there is no size.
    """
    _require_maps(model.outputs[0], model.name)
    if not len(scales):
        raise ValueError("multi_scale_scores needs the images at one size at least; scales is empty.")
    best = [
        _run(model, x)[0].max(axis=(1, 2)) for images in map(np.asarray, scales) for x in (images, images[:, :, ::-1])
    ]
    return np.mean(best, axis=0)


@dataclass(frozen=True)
class Windows:
    """The squares of `side` input pixels that a map's positions answer for: (i, j) begins at (i, j) * `stride`."""

    side: int
    stride: int


def sliding_windows(model: keras.Model) -> Windows:
    """The windows of an OverFeat model, read from its layers.

    Padding inside the network is taken as the paper takes it: it does not widen a window.
    """
    side = stride = 1
    for layer in reversed(model.layers):
        if not isinstance(layer, layers.Conv2D | layers.MaxPooling2D) or layer.name.startswith("box_"):
            continue
        stride *= layer.strides[0]
        side *= layer.strides[0]
        if layer.padding == "valid":
            convolves = isinstance(layer, layers.Conv2D)
            kernel, dilation = (layer.kernel_size[0], layer.dilation_rate[0]) if convolves else (layer.pool_size[0], 1)
            side += (kernel - 1) * dilation + 1 - layer.strides[0]
    return Windows(side, stride)


def box_regressor(classifier: keras.Model, *, per_class: bool = False) -> keras.Model:
    """The regressor of section 4 on the features of an OverFeat classifier: 4096 and 1024 hidden units, four outputs.

    It shares the classifier's layers up to the last pool, which the paper does not train any further
    (`layer.trainable = False`). `keras.Model(model.input, [model.output, boxes.output])` gives scores and boxes.

    Args:
        classifier: from `overfeat_fast` or `overfeat_accurate`, with any `dense`.
        per_class: a box for each class instead of one for all, which the paper found to be better.

    Returns:
        A model whose output is (batch, 4), or (batch, rows, columns, 4) where the classifier is dense: left, top,
        right and bottom edge as parts of the window, whose own edges are 0, 0, 1, 1. With `per_class` the last axis is
        4 * classes, four a class.

    Raises:
        ValueError: the classifier is not one of OverFeat's.
    """
    hidden = [layer for layer in classifier.layers if isinstance(layer, layers.Conv2D) and layer.name.startswith("fc")]
    if len(hidden) != 3:
        raise ValueError(
            f"box_regressor needs a classifier of overfeat_fast or overfeat_accurate; {classifier.name!r} has no "
            "layers fc6 to fc8, or fc7 to fc9."
        )
    first, _, last = hidden
    x = conv(first.input, 4096, first.kernel_size, dilation=first.dilation_rate[0], name="box_fc1")
    x = conv(x, 1024, 1, name="box_fc2")
    x = layers.Conv2D(
        4 * last.filters if per_class else 4,
        1,
        kernel_initializer=INITIALIZER,
        data_format=DATA_FORMAT,
        dtype="float32",
        name="box_edges",
    )(x)
    if len(classifier.output.shape) == 2:
        x = layers.Flatten(data_format=DATA_FORMAT, name="box_flatten")(x)
    return keras.Model(classifier.input, x, name=f"{classifier.name}_boxes")


def detect(
    model: keras.Model, scales: Sequence[Any], *, top: int = 5, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the objects in one image (section 4.3).

    At each size, the `top` classes by their best position are kept; the boxes of all positions and sizes are merged.

    Args:
        model: class scores and boxes of every position, see `box_regressor`.
        scales: the image at each size, arrays of (height, width, channels), as the model takes them.
        top: how many classes are kept at each size.
        threshold: see `merge_boxes`.

    Returns:
        What `merge_boxes` returns; edges are parts of the image, 0 to 1 from left to right and from top to bottom.

    Raises:
        ValueError: the model does not give maps of scores and of boxes that belong together, or there is no size.
    """
    if len(model.outputs) != 2:
        raise ValueError(f"detect needs a model with two outputs, scores and boxes; {model.name!r} has not.")
    for output in model.outputs:
        _require_maps(output, model.name)
    classes, edges = (output.shape[-1] for output in model.outputs)
    if edges not in (4, 4 * classes):
        raise ValueError(
            f"Boxes of {classes} classes have 4 or {4 * classes} edges a position; here they have {edges}."
        )
    if not len(scales):
        raise ValueError("detect needs the image at one size at least; scales is empty.")
    windows = sliding_windows(model)
    boxes, scores = [], []
    for image in map(np.asarray, scales):
        score_map, box_map = (output[0] for output in _run(model, image[None]))
        kept = np.argsort(-score_map.max(axis=(0, 1)), kind="stable")[:top]
        rows, columns = np.indices(score_map.shape[:2])
        corner = windows.stride * np.stack([columns, rows] * 2, axis=-1)[..., None, :]
        box_map = box_map.reshape(*score_map.shape[:2], -1, 4)
        placed = (corner + windows.side * box_map) / np.tile(image.shape[1::-1], 2)
        only = np.isin(np.arange(classes), kept)
        if edges == 4:
            boxes.append(placed.reshape(-1, 4))
            scores.append((score_map * only).reshape(-1, classes))
        else:
            boxes += [placed[..., c, :].reshape(-1, 4) for c in kept]
            scores += [(score_map * (np.arange(classes) == c)).reshape(-1, classes) for c in kept]
    return merge_boxes(np.concatenate(boxes), np.concatenate(scores), threshold=threshold)


def merge_boxes(boxes: Any, scores: Any, *, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Merge boxes two by two, best match first, until no two match (section 4.3); scores add up.

    Args:
        boxes: (n, 4), left, top, right, bottom.
        scores: (n, classes) class scores of the windows that the boxes were predicted from.
        threshold: the largest `match_score` at which two boxes are merged; the paper does not print its own.

    Returns:
        (m, 4) boxes and (m, classes) scores, the one with the highest score first.

    Raises:
        ValueError: the shapes do not fit.
    """
    boxes, scores = np.array(boxes, np.float64), np.array(scores, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 2 or len(scores) != len(boxes):
        raise ValueError(
            f"boxes must have the shape (n, 4) and scores (n, classes); they have {boxes.shape} and {scores.shape}."
        )
    match = match_score(boxes[:, None], boxes[None])
    np.fill_diagonal(match, np.inf)
    alive = np.ones(len(boxes), bool)
    while match.size:
        i, j = np.unravel_index(match.argmin(), match.shape)
        if match[i, j] > threshold or not np.isfinite(match[i, j]):
            break
        boxes[i] = (boxes[i] + boxes[j]) / 2
        scores[i] += scores[j]
        alive[j] = False
        match[j] = match[:, j] = np.inf
        match[i] = match[:, i] = np.where(alive, match_score(boxes[i], boxes), np.inf)
        match[i, i] = np.inf
    order = np.argsort(-scores[alive].max(axis=1, initial=-np.inf), kind="stable")
    return boxes[alive][order], scores[alive][order]


def match_score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How badly boxes (..., 4) match: 0 for equal ones, above 1 for such as do not meet.

    The paper sums the distance of the centers and the area of the intersection, and merges where the sum is small: it
    gives no units, and its second term has the wrong sign. Here the distance is divided by the side of a square of the
    boxes' mean area, and the second term is the part of their union that they do not share.
    """
    size_a, size_b = (np.maximum(box[..., 2:] - box[..., :2], 0) for box in (a, b))
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(overlap, 0).prod(axis=-1)
    areas = size_a.prod(axis=-1) + size_b.prod(axis=-1)
    centers = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = np.sqrt((centers**2).sum(axis=-1))
    tiny = np.finfo(np.float64).tiny
    return distance / np.sqrt(np.maximum(areas / 2, tiny)) + 1 - shared / np.maximum(areas - shared, tiny)


def _require_maps(output: Any, name: str) -> None:
    if len(output.shape) != 4:
        raise ValueError(
            f"The model {name!r} gives {tuple(output.shape)}, not a map (batch, rows, columns, classes): build it with "
            "dense=True."
        )


def _run(model: keras.Model, images: Any) -> list[np.ndarray]:
    answers = model(images, training=False)
    return [keras.ops.convert_to_numpy(x) for x in (answers if isinstance(answers, list) else [answers])]
