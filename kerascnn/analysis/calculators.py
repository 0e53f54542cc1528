"""The small sums of the lectures on CNN architectures (CS231n, EECS 498): what a block costs before it is built.

Multiply-accumulates are those of convolutions, as everywhere in this package; biases are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a block costs.

    Attributes:
        weights: The number of weights of its convolutions, without biases.
        macs: Multiply-accumulates.
        outputs: Elements of its output.
    """

    weights: int
    macs: int
    outputs: int


def convolution(height: int, width: int, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> Cost:
    """Compute a convolution that makes maps of `height` x `width`.

    Raises:
        ValueError: A number is not positive, or the groups do not divide the channels.
    """
    _check(height=height, width=width, inputs=inputs, outputs=outputs, kernel=kernel, groups=groups)
    if inputs % groups or outputs % groups:
        raise ValueError(f"{groups} groups do not divide {inputs} input and {outputs} output channels.")
    weights = kernel * kernel * (inputs // groups) * outputs
    return Cost(weights, height * width * weights, height * width * outputs)


def basic_block(height: int, width: int, channels: int) -> Cost:
    """Compute ResNet's block of two 3x3 convolutions with `channels` in and out: 18 H W C^2."""
    one = convolution(height, width, channels, channels)
    return Cost(2 * one.weights, 2 * one.macs, one.outputs)


def bottleneck_block(height: int, width: int, channels: int, *, groups: int = 1, width_of_group: int = 0) -> Cost:
    """Compute ResNet's bottleneck 4C -> C -> C -> 4C: 17 H W C^2.

    Args:
        height: The height of the maps.
        width: The width of the maps.
        channels: C.
        groups: Paths of ResNeXt's block.
        width_of_group: Channels of each path; 0 for ResNet's block.
    """
    _check(channels=channels)
    inner = groups * width_of_group if width_of_group else channels
    return _sum(
        convolution(height, width, 4 * channels, inner, 1),
        convolution(height, width, inner, inner, 3, groups),
        convolution(height, width, inner, 4 * channels, 1),
    )


def solve_cardinality(channels: int, groups: int) -> float:
    """Solve 9 G c^2 + 8 G C c - 17 C^2 = 0: the width c of ResNeXt's G paths at the work of a bottleneck with C.

    It returns the root; networks take a whole number near it, such as 4 for 32 groups and 24 for 4 at C = 64.

    Raises:
        ValueError: A number is not positive.
    """
    _check(channels=channels, groups=groups)
    a, b, c = 9 * groups, 8 * groups * channels, -17 * channels**2
    return (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)


@dataclass(frozen=True)
class Stack:
    """Convolutions in a row: what an output of the last one sees, and their weights as a multiple of C^2."""

    receptive_field: int
    weights_per_c2: int

    def weights(self, channels: int) -> int:
        """Count the weights with `channels` in and out of each."""
        return self.weights_per_c2 * channels**2


def stacked(count: int, kernel: int = 3) -> Stack:
    """Stack `count` convolutions of stride 1: three of 3x3 see 7x7 with 27 C^2 weights, where one 7x7 has 49 C^2.

    Raises:
        ValueError: A number is not positive.
    """
    _check(count=count, kernel=kernel)
    return Stack(count * (kernel - 1) + 1, count * kernel * kernel)


def inception_module(
    height: int, width: int, inputs: int, filters: Sequence[int], reduce: Sequence[int] | None = None
) -> Cost:
    """Compute an Inception module: 1x1, 3x3 and 5x5 convolutions and 3x3 pooling side by side.

    Args:
        height: The height of the maps.
        width: The width of the maps.
        inputs: Channels that it reads.
        filters: How many filters the 1x1, the 3x3 and the 5x5 convolution have.
        reduce: None for the naive module; else the filters of the 1x1 convolutions before the 3x3, before the 5x5 and
            after the pooling.

    Raises:
        ValueError: A number is not positive, or there are not three of `filters` or of `reduce`.
    """
    if len(filters) != 3:
        raise ValueError(f"filters are those of the 1x1, the 3x3 and the 5x5 convolution; they are {list(filters)}.")
    if reduce is None:
        pooled = inputs
        parts = [(inputs, outputs, kernel) for outputs, kernel in zip(filters, (1, 3, 5), strict=True)]
    elif len(reduce) == 3:
        pooled = reduce[2]
        parts = [(inputs, outputs, 1) for outputs in (filters[0], *reduce)]
        parts += [(reduce[0], filters[1], 3), (reduce[1], filters[2], 5)]
    else:
        raise ValueError(
            f"reduce has the filters before the 3x3, before the 5x5 and after the pooling; it is {list(reduce)}."
        )
    cost = _sum(*(convolution(height, width, *part) for part in parts))
    return Cost(cost.weights, cost.macs, height * width * (sum(filters) + pooled))


def vgg_rule(height: int, width: int, channels: int) -> tuple[Cost, Cost]:
    """Compare a 3x3 convolution C -> C with one 2C -> 2C after a 2x2 pool.

    The second has half the memory, four times the weights, and the same work.
    """
    before = convolution(height, width, channels, channels)
    return before, convolution(height // 2, width // 2, 2 * channels, 2 * channels)


def _sum(*parts: Cost) -> Cost:
    """Add up costs in a row; the outputs are the last one's."""
    return Cost(sum(part.weights for part in parts), sum(part.macs for part in parts), parts[-1].outputs)


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be positive; it is {number}.")
