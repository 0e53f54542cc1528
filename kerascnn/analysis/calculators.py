"""The small sums of the CNN-architecture lectures (CS231n, EECS 498): what a block costs, before one is built.

Multiply-accumulates are those of convolutions, as everywhere in this package; biases are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of a block: weights of its convolutions without biases, multiply-accumulates, and elements that it puts out."""

    weights: int
    macs: int
    outputs: int


def convolution(height: int, width: int, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> Cost:
    """A convolution that makes maps of `height` x `width`.

    Raises:
        ValueError: a number is not positive, or the groups do not divide the channels.
    """
    _check(height=height, width=width, inputs=inputs, outputs=outputs, kernel=kernel, groups=groups)
    if inputs % groups or outputs % groups:
        raise ValueError(f"{groups} groups do not divide {inputs} input and {outputs} output channels.")
    weights = kernel * kernel * (inputs // groups) * outputs
    return Cost(weights, height * width * weights, height * width * outputs)


def basic_block(height: int, width: int, channels: int) -> Cost:
    """ResNet's block of two 3x3 convolutions with `channels` in and out: 18 H W C^2."""
    one = convolution(height, width, channels, channels)
    return Cost(2 * one.weights, 2 * one.macs, one.outputs)


def bottleneck_block(height: int, width: int, channels: int, *, groups: int = 1, width_of_group: int = 0) -> Cost:
    """ResNet's bottleneck, 4C -> C -> C -> 4C: 17 H W C^2; or ResNeXt's, with `groups` paths of `width_of_group`."""
    _check(channels=channels)
    inner = groups * width_of_group if width_of_group else channels
    return _sum(
        convolution(height, width, 4 * channels, inner, 1),
        convolution(height, width, inner, inner, 3, groups),
        convolution(height, width, inner, 4 * channels, 1),
    )


def solve_cardinality(channels: int, groups: int) -> float:
    """ResNeXt's width c of each of G paths at the work of a bottleneck with C: 9 G c^2 + 8 G C c - 17 C^2 = 0.

    The root itself; networks take a whole number near it, such as 4 for 32 groups and 24 for 4 at C = 64.

    Raises:
        ValueError: a number is not positive.
    """
    _check(channels=channels, groups=groups)
    a, b, c = 9 * groups, 8 * groups * channels, -17 * channels**2
    return (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)


@dataclass(frozen=True)
class Stack:
    """Convolutions in a row: what the last one sees, and and its weights as a multiple of C^2."""

    receptive_field: int
    weights_per_c2: int

    def weights(self, channels: int) -> int:
        """With `channels` in and out of each."""
        return self.weights_per_c2 * channels**2


def stacked(count: int, kernel: int = 3) -> Stack:
    """`count` convolutions of stride 1: three of 3x3 see 7x7 with 27 C^2 weights, where one 7x7 has 49 C^2.

    Raises:
        ValueError: a number is not positive.
    """
    _check(count=count, kernel=kernel)
    return Stack(count * (kernel - 1) + 1, count * kernel * kernel)


def inception_module(
    height: int, width: int, inputs: int, ones: int, threes: int, fives: int, *, reduce: Sequence[int] | None = None
) -> Cost:
    """An Inception module: 1x1, 3x3 and 5x5 convolutions and 3x3 pooling side by side.

    Args:
        reduce: None for the naive module; else the filters of the 1x1 convolutions before the 3x3, before the 5x5 and
            after the pooling.

    Raises:
        ValueError: a number is not positive, or `reduce` does not have three.
    """
    if reduce is None:
        branches = [(ones, 1), (threes, 3), (fives, 5)]
        cost = _sum(*(convolution(height, width, inputs, filters, kernel) for filters, kernel in branches))
        return Cost(cost.weights, cost.macs, height * width * (ones + threes + fives + inputs))
    if len(reduce) != 3:
        raise ValueError(
            f"reduce has the filters before the 3x3, before the 5x5 and after the pooling; it is {list(reduce)}."
        )
    before_threes, before_fives, after_pool = reduce
    parts = [
        (inputs, ones, 1),
        *((inputs, before_threes, 1), (before_threes, threes, 3)),
        *((inputs, before_fives, 1), (before_fives, fives, 5)),
        (inputs, after_pool, 1),
    ]
    cost = _sum(*(convolution(height, width, *part) for part in parts))
    return Cost(cost.weights, cost.macs, height * width * (ones + threes + fives + after_pool))


def vgg_rule(height: int, width: int, channels: int) -> tuple[Cost, Cost]:
    """A 3x3 convolution C -> C, and the one 2C -> 2C after a 2x2 pool: half the memory, 4 x the weights, equal work."""
    before = convolution(height, width, channels, channels)
    return before, convolution(height // 2, width // 2, 2 * channels, 2 * channels)


def _sum(*parts: Cost) -> Cost:
    """Costs in a row; the outputs are the last one's."""
    return Cost(sum(part.weights for part in parts), sum(part.macs for part in parts), parts[-1].outputs)


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be positive; it is {number}.")
