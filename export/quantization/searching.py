"""Choose the precision of each layer: the network that diverges least for its bytes, by one price for all layers.

What four bits cost is measured: each layer is rounded alone, and the answers on photos are compared with the
original's. Eight bits cost less by the square of the steps' ratio, and sixteen nothing. Every layer then takes what it
is cheapest with at a price in nats a byte; each price gives a plan. Divergence chooses, because on a few photos it is a
much finer measure than accuracy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.quantization import sequence
from export.quantization.network import Network
from export.quantization.steps import INT4, INT8
from kerascnn.statistics import compare, log_probabilities

if TYPE_CHECKING:
    from export.quantization.goal import Goal
    from export.tracing.freezing import FrozenGraph

HALF = 1 << 11  # levels of a float16 number, whose kernels are rounded as they are
SEARCHED = 32  # photos, about, on which divergences are measured
HELD_BACK = 4  # every fourth photo is held back from rounding, to measure what a plan costs
MARGIN = 0.5  # of the drop that is allowed: what the plan may be expected to cost
TRIES = 4

Cost = Callable[[np.ndarray, int], float]


@dataclass(frozen=True)
class Plan:
    """A mixture of precisions.

    Attributes:
        levels: Of each kernel.
        bytes: What the kernels take, about.
    """

    levels: Mapping[str, int]
    bytes: float


def search(
    network: Network, images: np.ndarray, goal: Goal, cost: Cost, weigh: Callable[[FrozenGraph], int]
) -> FrozenGraph:
    """Return the network with each kernel in its precision.

    Args:
        network: The network.
        images: float32 [n, height, width, channels], as it takes them; at least `calibration.FEWEST_IMAGES`.
        goal: What it has to reach.
        cost: Says how many bytes a kernel takes with a number of levels.
        weigh: Says how many bytes the file of a graph has.

    Raises:
        ExportError: The goal cannot be reached; the message says what can be.
    """
    held = np.arange(len(images)) % HELD_BACK == HELD_BACK - 1
    rounding, judging = images[~held], images[held]
    candidates = plans(network, measure(network, rounding), cost)
    if goal.target_bytes is not None:
        return _within_bytes(network, images, candidates, goal.target_bytes, weigh)
    plan = _within_drop(network, (rounding, judging), candidates, goal.max_drop or 0.0)
    return network.with_values(sequence.quantize(network, images, plan.levels))


def measure(network: Network, images: np.ndarray) -> dict[str, float]:
    """Return what four bits in each layer alone cost, in nats a photo."""
    alone = sequence.quantize(network, images, sequence.all_in_four_bits(network.frozen), alone=True)
    seen = images[:: max(1, len(images) // SEARCHED)]
    reference = answers(network, seen, {})
    return {name: compare(reference, answers(network, seen, {name: alone[name]}))[0] for name in network.layers}


def plans(network: Network, nats: Mapping[str, float], cost: Cost) -> list[Plan]:
    """Return the plans that are cheapest at some price, those of the fewest bytes first."""
    choices = {}
    for name, loss in nats.items():
        kernel = network.frozen.kernels[name]
        losses = {INT4: loss, INT8: loss * (INT4 / INT8) ** 2, HALF: 0.0}
        choices[name] = [(levels, lost, cost(kernel, levels)) for levels, lost in losses.items()]
    rest = sequence.all_in_four_bits(network.frozen)
    found: list[Plan] = []
    for price in np.geomspace(1e-3, 1e-12, 400):
        chosen = {
            name: min(options, key=lambda option: (option[1] + price * option[2], option[2]))
            for name, options in choices.items()
        }
        plan = Plan(rest | {name: one[0] for name, one in chosen.items()}, sum(one[2] for one in chosen.values()))
        if not found or plan.levels != found[-1].levels:
            found.append(plan)
    return found


def _within_bytes(
    network: Network, images: np.ndarray, candidates: Sequence[Plan], target: int, weigh: Callable[[FrozenGraph], int]
) -> FrozenGraph:
    """Return the largest plan that fits."""

    def size(plan: Plan) -> int:
        return weigh(network.with_values(sequence.nearest(network, plan.levels)))

    for plan in reversed(candidates[: bisect_right(candidates, target, key=size)]):
        graph = network.with_values(sequence.quantize(network, images, plan.levels))
        if weigh(graph) <= target:
            return graph
    raise ExportError(
        f"The smallest mixture of precisions has {size(candidates[0]):,} bytes; {target:,} were asked for. Ask for "
        "more, or compress the network first."
    )


def _within_drop(
    network: Network, photos: tuple[np.ndarray, np.ndarray], candidates: Sequence[Plan], drop: float
) -> Plan:
    """Return about the smallest plan that is expected to cost at most a part of the drop, halving them TRIES times."""
    rounding, judging = photos
    reference = answers(network, judging, {})
    first, last = -1, len(candidates) - 1  # the first costs too much; the last is what everything is compared with
    for _ in range(TRIES):
        if last - first <= 1:
            break
        middle = (first + last) // 2
        changed = sequence.quantize(network, rounding, candidates[middle].levels)
        if expected_drop(reference, answers(network, judging, changed)) <= MARGIN * drop:
            last = middle
        else:
            first = middle
    return candidates[last]


def answers(network: Network, images: np.ndarray, changed: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the logarithms of the probabilities [n, classes] that a network gives, with some values replaced."""
    parts = [network.run(images[start : start + 16], network.logits, changed) for start in range(0, len(images), 16)]
    return log_probabilities(np.concatenate(parts))


def expected_drop(reference: np.ndarray, found: np.ndarray) -> float:
    """Return how many points of accuracy answers lose if the original's probabilities are true.

    That needs no labels, and varies less than what a few labels say: where the best class changes, it counts by how
    much less likely the new one was.
    """
    likely = np.exp(reference)
    rows = np.arange(len(likely))
    return 100 * float((likely.max(axis=1) - likely[rows, found.argmax(axis=1)]).mean())
