"""ResNeXt: layer names in the checkpoints of torchvision and timm, which are those of their ResNets."""

from kerascnn.weights.naming.resnet import torchvision

__all__ = ["torchvision"]
