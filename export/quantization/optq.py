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

    def sample(self, values: np.ndarray, channels: int, count: int, random: np.random.Generator) -> np.ndarray:
        """Return random inputs of the kernel, as the rows that meet it.

        Args:
            values: the layer's input [n, height, width, groups * channels].
            channels: of one group.
            count: how many places to look at.
            random: chooses the places.

        Returns:
            [groups, count, height of the kernel * its width * channels].
        """
        (down, across), spans = self.strides, self._spans()
        margins = self._same_margins(values) if self.margins is None else self.margins
        values = np.pad(values, [(0, 0), *margins, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(values, spans, axis=(1, 2))
        windows = windows[:, ::down, ::across, :, :: self.dilations[0], :: self.dilations[1]]
        places = np.unravel_index(random.integers(np.prod(windows.shape[:3]), size=count), windows.shape[:3])
        taps = self.size[0] * self.size[1]
        rows = windows[places].reshape(count, -1, channels, taps)
        return rows.transpose(1, 0, 3, 2).reshape(-1, count, taps * channels)

    def _spans(self) -> list[int]:
        return [(size - 1) * dilation + 1 for size, dilation in zip(self.size, self.dilations, strict=True)]

    def _same_margins(self, values: np.ndarray) -> list[tuple[int, int]]:
        sides = zip(values.shape[1:3], self.strides, self._spans(), strict=True)
        totals = [max((-(-size // stride) - 1) * stride + span - size, 0) for size, stride, span in sides]
        return [(total // 2, total - total // 2) for total in totals]


@dataclass(frozen=True)
class Compensation:
    """How the inputs of a layer make up for one another.

    Attributes:
        order: the inputs, in the order in which their weights are chosen.
        triangle: [inputs, inputs], upper: the part of an error that each later input makes up for.
    """

    order: np.ndarray
    triangle: np.ndarray

    @classmethod
    def of(cls, moments: np.ndarray) -> Compensation:
        """Compute it from the second moments [inputs, inputs] of the inputs."""
        power = np.diag(moments).astype(np.float64)
        # The most important input comes first, while most are left to compensate with.
        order = np.argsort(-power, kind="stable")
        damping = DAMPING * power.mean() or 1.0
        inverse = np.linalg.inv(moments[np.ix_(order, order)] + damping * np.eye(len(order)))
        return cls(order, np.linalg.cholesky(inverse).T.astype(np.float32))

    def choose(self, weights: np.ndarray, nearest: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        """Replace the weights [inputs, outputs] of all inputs.

        Args:
            weights: what is wanted.
            nearest: a function that gives the weights to take for the input of a number where others are wanted.

        Returns:
            The weights that `nearest` gave, [inputs, outputs].
        """
        rest = weights[self.order].astype(np.float32)
        chosen = np.empty_like(rest)
        for start in range(0, len(rest), _BLOCK):
            end = min(start + _BLOCK, len(rest))
            errors = np.empty((end - start, rest.shape[1]), np.float32)
            for row in range(start, end):
                chosen[row] = nearest(self.order[row], rest[row])
                errors[row - start] = (rest[row] - chosen[row]) / self.triangle[row, row]
                rest[row + 1 : end] -= np.outer(self.triangle[row, row + 1 : end], errors[row - start])
            rest[end:] -= self.triangle[start:end, end:].T @ errors
        result = np.empty_like(chosen)
        result[self.order] = chosen
        return result
