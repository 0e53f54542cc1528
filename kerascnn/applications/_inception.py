"""Inception modules as tables (Szegedy et al.): several branches side by side, joined along their channels.

Inception v3, v4 and Inception-ResNet write a module as the layers of each of its branches, by the branch's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, Norm, Sides, average_pool, concatenate, conv_bn_relu, max_pool
from kerascnn.building.head import predictions, require_fixed_size, wants_auxiliary
from kerascnn.building.network import Network


@dataclass(frozen=True)
class Conv:
    """A convolution with batch normalization and ReLU. It keeps the size of the map, or strides without padding."""

    filters: int
    kernel: Sides
    strides: int = 1


class Pool(Enum):
    """A pool of 3x3 pixels: the average around each pixel, or the maximum at every second one, without padding."""

    AVERAGE = 1
    MAX = 2


AVERAGE, MAX = Pool.AVERAGE, Pool.MAX
Layer = Conv | Pool | tuple[Conv, Conv]  # a pair goes side by side on the same map
Branches = Mapping[str, Sequence[Layer]]


# Of the authors' networks: github.com/tensorflow/models, research/slim/nets/inception_utils.py
GOOGLE = Norm(epsilon=1e-3, momentum=0.9997)


def google(name: str, bn_momentum: float | None, scale: bool = True) -> Norm:
    """Return the batch normalization of Google's networks, with another momentum where the option asks for it."""
    if bn_momentum is None:
        return replace(GOOGLE, scale=scale)
    if isinstance(bn_momentum, bool) or not isinstance(bn_momentum, int | float) or not 0 <= bn_momentum < 1:
        raise ValueError(f"{name}: bn_momentum must be at least 0 and below 1; it is {bn_momentum!r}.")
    return replace(GOOGLE, scale=scale, momentum=float(bn_momentum))


@dataclass(frozen=True)
class Modules:
    """What all modules of a network share.

    Attributes:
        norm: The settings of the batch normalizations.
        count_padding: Whether averages at the edge count the zeros around the map.
        first: Number of the first convolution of a branch that has several: their names are `BRANCH_NUMBER`.
    """

    norm: Norm = GOOGLE
    count_padding: bool = False
    first: int = 0

    @property
    def unit(self) -> Callable[..., KerasTensor]:
        """A convolution of these networks."""
        return partial(conv_bn_relu, norm=self.norm)

    def stem(self, net: Network) -> KerasTensor:
        """Build the layers before the first module of Inception v3 and Inception-ResNet v2: 299x299 to 35x35."""
        x = self.unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
        x = self.unit(x, 32, 3, name="conv_2a_3x3")
        x = net.stage("stem", self.unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
        x = max_pool(x, 3, 2, name="pool1")
        x = self.unit(x, 80, 1, name="conv_3b_1x1")
        x = net.stage("stage1", self.unit(x, 192, 3, name="conv_4a_3x3"))
        return max_pool(x, 3, 2, name="pool2")

    def auxiliary(self, net: Network, x: KerasTensor, aux_logits: bool) -> dict[str, KerasTensor] | None:
        """Build the auxiliary classifier on the last 17x17 map where it is asked for.

        Inception v3's Figure 8 shows it; in the authors' code v4 and Inception-ResNet v2 have the same
        (github.com/tensorflow/models, research/slim/nets: `create_aux_logits=True`).
        """
        if not wants_auxiliary(net, aux_logits):
            return None
        require_fixed_size(net, x)
        if min(x.shape[1:3]) < 17:
            raise ValueError(
                f"The auxiliary classifier of {net.variant.name} needs a map of at least 17x17; it is "
                f"{x.shape[1]}x{x.shape[2]} for this input. The smallest input that it works with is 299x299."
            )
        x = average_pool(x, 5, 3, name="aux_pool")
        x = self.unit(x, 128, 1, name="aux_conv0")
        x = self.unit(x, 768, 5, name="aux_conv1")
        x = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="aux_avg_pool")(x)
        return {"aux": predictions(net, x, "aux")}

    def build(self, x: KerasTensor, name: str, branches: Branches, output: str = "") -> KerasTensor:
        """Build a module on `x`; the layer that joins its branches is called `output`, by default as the module."""
        ends = [end for branch, row in branches.items() for end in self._branch(x, f"{name}_{branch}", name, row)]
        return concatenate(ends, name=output or name)

    def _branch(self, x: KerasTensor, branch: str, module: str, row: Sequence[Layer]) -> list[KerasTensor]:
        """Build one branch and return its ends, of which there are two where a pair is last."""
        numbered = sum(not isinstance(layer, Pool) for layer in row) > 1
        number, ends = self.first, [x]
        for layer in row:
            (x,) = ends
            if isinstance(layer, Pool):
                ends = [self._pool(x, layer, f"{module}_pool")]
                continue
            name = f"{branch}_{number}" if numbered else branch
            if isinstance(layer, Conv):
                ends = [self._conv(x, layer, name)]
            else:
                ends = [self._conv(x, layer[0], f"{name}a"), self._conv(x, layer[1], f"{name}b")]
            number += 1
        return ends

    def _conv(self, x: KerasTensor, layer: Conv, name: str) -> KerasTensor:
        kernel = layer.kernel
        padding: Sides = 0
        if layer.strides == 1:
            padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        return self.unit(x, layer.filters, kernel, strides=layer.strides, padding=padding, name=name)

    def _pool(self, x: KerasTensor, layer: Pool, name: str) -> KerasTensor:
        if layer is MAX:
            return max_pool(x, 3, 2, name=name)
        return average_pool(x, 3, padding=1, count_padding=self.count_padding, name=name)
