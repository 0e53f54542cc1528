"""One function a variant: `kerascnn.applications.resnet50()`.

Every builder takes the options of `kerascnn.building.ModelOptions`, and those of its family.
"""

from kerascnn.applications.alexnet import alexnet, alexnet_owt
from kerascnn.applications.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from kerascnn.applications.squeezenet import squeezenet, squeezenet1_1
from kerascnn.applications.vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "alexnet",
    "alexnet_owt",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet",
    "squeezenet1_1",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
