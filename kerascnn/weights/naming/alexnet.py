"""AlexNet: layer names in Caffe's network, and in torchvision's checkpoints of the one-tower net.

In the latter, `features.N` counts ReLUs and pools too.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["caffe", "torchvision"]

HEAD = ("fc6", "fc7", "predictions")
OPTIONS = {"caffe": {"lrn_average": True, "lrn_bias": 1}}

_TORCHVISION = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "predictions": "classifier.6",
}


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3 -> features.6."""
    return rename(layers, _TORCHVISION.items())


def caffe(layers: Iterable[str]) -> dict[str, str]:
    """Predictions -> fc8."""
    return rename(layers, [("predictions", "fc8"), ("(.*)", "{0}")])
