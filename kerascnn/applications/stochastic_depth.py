"""ResNet-110 with stochastic depth (Huang et al. 2016, arXiv:1603.09382).

Every residual network takes `survival_probability`; this one has the paper's, and the paper's shortcuts.
"""

from __future__ import annotations

from typing import Literal, Unpack

import keras

from kerascnn.applications.resnet_cifar import stack
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = ["resnet110_stochastic_cifar"]


@builder
def resnet110_stochastic_cifar(
    *, shortcut: Literal["A", "average", "B"] | None = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-110 for images of 32x32 whose last unit survives half of the training steps (section 4).

    Of 54 units, 40 take part in a step on average. `survival_scaling="inference"` scales as the paper does; by default
    the same is done in training, so that inference is a plain ResNet-110.

    Args:
        shortcut: "average" (the paper's, the default) averages 2x2 pixels and adds channels of zeros where the shape
            changes; "A" and "B" as for `resnet20_cifar`.
        **options: See `ResidualOptions`; survival_probability is 0.5 by default, None for none.
    """
    net = Network(
        "resnet110_stochastic_cifar",
        {"survival_probability": 0.5, **options},
        {"shortcut": Choice(shortcut, "average", ("A", "average", "B"))},
    )
    return stack(net, 110, net.choices["shortcut"])
