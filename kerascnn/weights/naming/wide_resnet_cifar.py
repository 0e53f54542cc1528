"""Wide ResNet for CIFAR: layer names in pytorchcv's checkpoints, which are those of its ResNet v2 for CIFAR."""

from kerascnn.weights.naming.resnet_v2_cifar import pytorchcv

__all__ = ["pytorchcv"]
