"""One function a variant: `kerascnn.applications.resnet50()`.

Every builder takes the options of `kerascnn.building.ModelOptions`, and those of its family.
"""

from kerascnn.applications.alexnet import alexnet, alexnet_owt
from kerascnn.applications.bn_inception import bn_inception
from kerascnn.applications.densenet import densenet121, densenet161, densenet169, densenet201, densenet264
from kerascnn.applications.googlenet import googlenet, googlenet_bn
from kerascnn.applications.inception_resnet import inception_resnet_v2
from kerascnn.applications.inception_v3 import inception_v3
from kerascnn.applications.inception_v4 import inception_v4
from kerascnn.applications.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from kerascnn.applications.resnet_cifar import (
    plain20_cifar,
    plain32_cifar,
    plain44_cifar,
    plain56_cifar,
    plain110_cifar,
    resnet20_cifar,
    resnet32_cifar,
    resnet44_cifar,
    resnet56_cifar,
    resnet110_cifar,
    resnet1202_cifar,
)
from kerascnn.applications.resnet_v2 import (
    resnet18_v2,
    resnet34_v2,
    resnet50_v2,
    resnet101_v2,
    resnet152_v2,
    resnet200_v2,
)
from kerascnn.applications.resnext import resnext50_32x4d, resnext101_32x4d, resnext101_32x8d, resnext101_64x4d
from kerascnn.applications.senet import (
    senet154,
    seresnet18,
    seresnet34,
    seresnet50,
    seresnet101,
    seresnet152,
    seresnext50_32x4d,
    seresnext101_32x4d,
)
from kerascnn.applications.squeezenet import squeezenet, squeezenet1_1
from kerascnn.applications.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from kerascnn.applications.wide_resnet import wide_resnet50_2, wide_resnet101_2

__all__ = [
    "alexnet",
    "alexnet_owt",
    "bn_inception",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet264",
    "googlenet",
    "googlenet_bn",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "plain20_cifar",
    "plain32_cifar",
    "plain44_cifar",
    "plain56_cifar",
    "plain110_cifar",
    "resnet18",
    "resnet18_v2",
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet34",
    "resnet34_v2",
    "resnet44_cifar",
    "resnet50",
    "resnet50_v2",
    "resnet56_cifar",
    "resnet101",
    "resnet101_v2",
    "resnet110_cifar",
    "resnet152",
    "resnet152_v2",
    "resnet200_v2",
    "resnet1202_cifar",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "senet154",
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnext50_32x4d",
    "seresnext101_32x4d",
    "squeezenet",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
