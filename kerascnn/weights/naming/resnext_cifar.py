"""ResNeXt for CIFAR: layer names in pytorchcv's checkpoints, which are those of its ResNet for CIFAR."""

from kerascnn.weights.naming.resnet_cifar import pytorchcv

__all__ = ["pytorchcv"]
