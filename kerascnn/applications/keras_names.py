"""The architectures that keras.applications has too, by its names: `kerascnn.applications.ResNet50` is `resnet50`.

The options are kerascnn's: `weights` is None unless it is given.
"""

from kerascnn.applications.densenet import densenet121 as DenseNet121
from kerascnn.applications.densenet import densenet169 as DenseNet169
from kerascnn.applications.densenet import densenet201 as DenseNet201
from kerascnn.applications.inception_resnet import inception_resnet_v2 as InceptionResNetV2
from kerascnn.applications.inception_v3 import inception_v3 as InceptionV3
from kerascnn.applications.resnet import resnet50 as ResNet50
from kerascnn.applications.resnet import resnet101 as ResNet101
from kerascnn.applications.resnet import resnet152 as ResNet152
from kerascnn.applications.resnet_v2 import resnet50_v2 as ResNet50V2
from kerascnn.applications.resnet_v2 import resnet101_v2 as ResNet101V2
from kerascnn.applications.resnet_v2 import resnet152_v2 as ResNet152V2
from kerascnn.applications.vgg import vgg16 as VGG16
from kerascnn.applications.vgg import vgg19 as VGG19

__all__ = [
    "VGG16",
    "VGG19",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "InceptionResNetV2",
    "InceptionV3",
    "ResNet50",
    "ResNet50V2",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
]
