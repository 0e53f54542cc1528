"""One function a variant: `kerascnn.applications.resnet50()`.

Every builder takes the options of `kerascnn.building.options.ModelOptions`, and those of its family. A family is a
module, a file of records of the same name, and one line here.
"""
# ruff: noqa: F403

from kerascnn.applications.alexnet import *
from kerascnn.applications.bn_inception import *
from kerascnn.applications.ciresan import *
from kerascnn.applications.densenet import *
from kerascnn.applications.densenet_cifar import *
from kerascnn.applications.ensemble import *
from kerascnn.applications.fractalnet import *
from kerascnn.applications.googlenet import *
from kerascnn.applications.inception_resnet import *
from kerascnn.applications.inception_v3 import *
from kerascnn.applications.inception_v4 import *
from kerascnn.applications.keras_names import *
from kerascnn.applications.lenet import *
from kerascnn.applications.nin import *
from kerascnn.applications.overfeat import *
from kerascnn.applications.plain import *
from kerascnn.applications.plain_cifar import *
from kerascnn.applications.resnet import *
from kerascnn.applications.resnet_cifar import *
from kerascnn.applications.resnet_v2 import *
from kerascnn.applications.resnet_v2_cifar import *
from kerascnn.applications.resnext import *
from kerascnn.applications.resnext_cifar import *
from kerascnn.applications.senet import *
from kerascnn.applications.squeezenet import *
from kerascnn.applications.stochastic_depth import *
from kerascnn.applications.vgg import *
from kerascnn.applications.wide_resnet import *
from kerascnn.applications.wide_resnet_cifar import *
from kerascnn.applications.zfnet import *
from kerascnn.registry import variants

__all__ = sorted([*variants(), "ensemble"])
