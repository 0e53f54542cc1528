"""Choose the weights of a layer one input after another, so that later ones make up for the errors of earlier ones.

This is OPTQ (Frantar et al. 2023, arXiv:2210.17323), led by the second moments of the layer's inputs. Int8 steps and
shared values are both chosen this way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DAMPING = 0.01  # of the mean power of the inputs
_BLOCK = 64


@dataclass(frozen=True)
class Window:
    """What the kernel of a convolution sees of its input [n, height, width, channels].

    Attributes:
        size: of the kernel, as (height, width).
        strides: down and across.
        dilations: down and across.
        margins: pixels of padding, as ((top, bottom), (left, right)); None pads as "same" does.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    margins: tuple[tuple[int, int], tuple[int, int]] | None

    def sample(
        self, values: np.ndarray, images: np.ndarray, channels: int, count: int, random: np.random.Generator
    ) -> np.ndarray:
        """Return random inputs of the kernel, as the rows that meet it.

        Args:
            values: the layer's input [n, height, width, groups * channels].
            images: [k], the numbers of those to look at.
            channels: of one group.
            count: how many places to look at.
            random: chooses the places.

        Returns:
            [groups, count, height of the kernel * its width * channels].
        """
        margins = self._same_margins(values) if self.margins is None else self.margins
        axes = zip(values.shape[1:3], self._spans(), self.strides, margins, strict=True)
        sides = ((side + sum(margin) - span) // stride + 1 for side, span, stride, margin in axes)
        grid = (len(images), *sides)
        image, *places = np.unravel_index(random.integers(np.prod(grid), size=count), grid)
        y, x = (
            (place * stride - before)[:, None] + dilation * np.arange(size)
            for place, stride, (before, _), dilation, size in zip(
                places, self.strides, margins, self.dilations, self.size, strict=True
            )
        )
        y, x = y[:, :, None], x[:, None, :]
        _, height, width, _ = values.shape
        rows = values[images[image][:, None, None], y.clip(0, height - 1), x.clip(0, width - 1)]
        rows[(y < 0) | (y >= height) | (x < 0) | (x >= width)] = 0  # padding
        taps = self.size[0] * self.size[1]
        return rows.reshape(count, taps, -1, channels).transpose(2, 0, 1, 3).reshape(-1, count, taps * channels)

    def _spans(self) -> list[int]:
        return [(size - 1) * dilation + 1 for size, dilation in zip(self.size, self.dilations, strict=True)]

    def _same_margins(self, values: np.ndarray) -> list[tuple[int, int]]:
        sides = zip(values.shape[1:3], self.strides, self._spans(), strict=True)
        totals = [max((-(-size // stride) - 1) * stride + span - size, 0) for size, stride, span in sides]
        return [(total // 2, total - total // 2) for total in totals]


@dataclass(frozen=True)
class Compensation:
    """How the inputs of a layer make up for one another.

    With leading dimensions (`...`), each layer of a stack stands for itself.

    Attributes:
        order: [..., inputs]: the inputs, in the order in which their weights are chosen.
        triangle: [..., inputs, inputs], upper: the part of an error that each later input makes up for.
    """

    order: np.ndarray
    triangle: np.ndarray

    @classmethod
    def of(cls, moments: np.ndarray) -> Compensation:
        """Compute it from the second moments [..., inputs, inputs] of the inputs."""
        power = np.diagonal(moments, axis1=-2, axis2=-1).astype(np.float64)
        # The most important input comes first, while most are left to compensate with.
        order = np.argsort(-power, axis=-1, kind="stable")
        damping = DAMPING * power.mean(axis=-1)
        damping = np.where(damping == 0, 1.0, damping)[..., None, None]
        ordered = np.take_along_axis(moments, order[..., :, None], -2)
        ordered = np.take_along_axis(ordered, order[..., None, :], -1)
        damped = ordered + damping * np.eye(order.shape[-1])
        # The Cholesky factor of the inverse, without forming the inverse: of moments in float32 it need not be positive
        # definite. Backwards, the factor of the moments is upper triangular, and its inverse is what is wanted.
        factor = np.linalg.cholesky(damped[..., ::-1, ::-1])[..., ::-1, ::-1]
        return cls(order, np.linalg.inv(factor).astype(np.float32))

    def ordered(self, values: np.ndarray) -> np.ndarray:
        """Return values [..., inputs, outputs] with the inputs in the order in which they are chosen."""
        return np.take_along_axis(values, self.order[..., None], -2)

    def choose(self, weights: np.ndarray, nearest: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        """Replace the weights [..., inputs, outputs] of all inputs.

        Args:
            weights: what is wanted.
            nearest: a function that gives the weights [..., outputs] to take where others are wanted, for the input at
                a place in the order.

        Returns:
            The weights that `nearest` gave, [..., inputs, outputs].
        """
        rest = self.ordered(weights).astype(np.float32)
        chosen = np.empty_like(rest)
        inputs = rest.shape[-2]
        for start in range(0, inputs, _BLOCK):
            end = min(start + _BLOCK, inputs)
            errors = np.empty((*rest.shape[:-2], end - start, rest.shape[-1]), np.float32)
            for row in range(start, end):
                factors = self.triangle[..., row, row:end, None]
                chosen[..., row, :] = nearest(row, rest[..., row, :])
                error = (rest[..., row, :] - chosen[..., row, :]) / factors[..., 0, :]
                rest[..., row + 1 : end, :] -= factors[..., 1:, :] * error[..., None, :]
                errors[..., row - start, :] = error
            rest[..., end:, :] -= self.triangle[..., start:end, end:].swapaxes(-1, -2) @ errors
        result = np.empty_like(chosen)
        np.put_along_axis(result, self.order[..., None], chosen, -2)
        return result
