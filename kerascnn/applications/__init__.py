"""One function a variant: `kerascnn.applications.resnet50()`.

Every builder takes the options of `kerascnn.building.options.ModelOptions`, and those of its family.
"""

from kerascnn.applications.alexnet import alexnet, alexnet_owt
from kerascnn.applications.bn_inception import bn_inception
from kerascnn.applications.ciresan import ciresan_gtsrb, ciresan_mlp, ciresan_mnist
from kerascnn.applications.densenet import densenet121, densenet161, densenet169, densenet201, densenet264
from kerascnn.applications.densenet_cifar import (
    densenet40_k12_cifar,
    densenet100_bc_k12_cifar,
    densenet100_k12_cifar,
    densenet100_k24_cifar,
    densenet190_bc_k40_cifar,
    densenet250_bc_k24_cifar,
)
from kerascnn.applications.ensemble import ensemble
from kerascnn.applications.fractalnet import fractalnet20_cifar, fractalnet34
from kerascnn.applications.googlenet import googlenet, googlenet_bn
from kerascnn.applications.inception_resnet import inception_resnet_v2
from kerascnn.applications.inception_v3 import inception_v3
from kerascnn.applications.inception_v4 import inception_v4
from kerascnn.applications.lenet import lenet5, lenet5_1998, lenet_caffe
from kerascnn.applications.nin import nin, nin_cifar
from kerascnn.applications.overfeat import overfeat_accurate, overfeat_fast
from kerascnn.applications.resnet import plain18, plain34, resnet18, resnet34, resnet50, resnet101, resnet152
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
from kerascnn.applications.resnet_v2_cifar import resnet110_v2_cifar, resnet164_v2_cifar, resnet1001_v2_cifar
from kerascnn.applications.resnext import resnext50_32x4d, resnext101_32x4d, resnext101_32x8d, resnext101_64x4d
from kerascnn.applications.resnext_cifar import resnext29_8x64d_cifar, resnext29_16x64d_cifar
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
from kerascnn.applications.squeezenet import squeezenet, squeezenet1_1, squeezenet_cifar
from kerascnn.applications.stochastic_depth import resnet110_stochastic_cifar
from kerascnn.applications.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from kerascnn.applications.wide_resnet import wide_resnet50_2, wide_resnet101_2
from kerascnn.applications.wide_resnet_cifar import (
    wide_resnet16_4_cifar,
    wide_resnet16_8_cifar,
    wide_resnet28_10_cifar,
    wide_resnet40_4_cifar,
)
from kerascnn.applications.zfnet import zfnet, zfnet_wide

__all__ = [
    "alexnet",
    "alexnet_owt",
    "bn_inception",
    "ciresan_gtsrb",
    "ciresan_mlp",
    "ciresan_mnist",
    "densenet40_k12_cifar",
    "densenet100_bc_k12_cifar",
    "densenet100_k12_cifar",
    "densenet100_k24_cifar",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet190_bc_k40_cifar",
    "densenet201",
    "densenet250_bc_k24_cifar",
    "densenet264",
    "ensemble",
    "fractalnet20_cifar",
    "fractalnet34",
    "googlenet",
    "googlenet_bn",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "lenet5",
    "lenet5_1998",
    "lenet_caffe",
    "nin",
    "nin_cifar",
    "overfeat_accurate",
    "overfeat_fast",
    "plain18",
    "plain20_cifar",
    "plain32_cifar",
    "plain34",
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
    "resnet110_stochastic_cifar",
    "resnet110_v2_cifar",
    "resnet152",
    "resnet152_v2",
    "resnet164_v2_cifar",
    "resnet200_v2",
    "resnet1001_v2_cifar",
    "resnet1202_cifar",
    "resnext29_8x64d_cifar",
    "resnext29_16x64d_cifar",
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
    "squeezenet_cifar",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet16_4_cifar",
    "wide_resnet16_8_cifar",
    "wide_resnet28_10_cifar",
    "wide_resnet40_4_cifar",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "zfnet",
    "zfnet_wide",
]
