"""Every architecture that the lectures name is in the registry, so that their readers find it here."""

import pytest

from kerascnn.registry import variants

LECTURES = {
    "LeNet-5": ["lenet5", "lenet5_1998", "lenet_caffe"],
    "Ciresan": ["ciresan_mlp", "ciresan_mnist", "ciresan_gtsrb"],
    "AlexNet": ["alexnet", "alexnet_owt", "alexnet_owt_krizhevsky"],
    "ZFNet": ["zfnet", "zfnet_wide"],
    "OverFeat": ["overfeat_fast", "overfeat_accurate"],
    "VGG": ["vgg11", "vgg13", "vgg16", "vgg19"],
    "Network in Network": ["nin", "nin_cifar"],
    "GoogLeNet (Inception v1)": ["googlenet"],
    "BN-Inception (Inception v2)": ["bn_inception", "inception_v2"],
    "Inception v3": ["inception_v3"],
    "Inception v4": ["inception_v4"],
    "Inception-ResNet": ["inception_resnet_v1", "inception_resnet_v2"],
    "ResNet": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    "plain networks": [
        "plain18",
        "plain34",
        "plain20_cifar",
        "plain32_cifar",
        "plain44_cifar",
        "plain56_cifar",
        "plain110_cifar",
    ],
    "ResNet on CIFAR": [
        "resnet20_cifar",
        "resnet32_cifar",
        "resnet44_cifar",
        "resnet56_cifar",
        "resnet110_cifar",
        "resnet1202_cifar",
    ],
    "ResNet v2": [
        "resnet50_v2",
        "resnet101_v2",
        "resnet152_v2",
        "resnet200_v2",
        "resnet110_v2_cifar",
        "resnet164_v2_cifar",
        "resnet1001_v2_cifar",
    ],
    "Wide ResNet": [
        "wide_resnet50_2",
        "wide_resnet101_2",
        "wide_resnet16_4_cifar",
        "wide_resnet40_4_cifar",
        "wide_resnet16_8_cifar",
        "wide_resnet28_10_cifar",
    ],
    "ResNeXt": [
        "resnext50_32x4d",
        "resnext101_32x4d",
        "resnext101_64x4d",
        "resnext29_8x64d_cifar",
        "resnext29_16x64d_cifar",
    ],
    "stochastic depth": ["resnet110_stochastic_cifar"],
    "FractalNet": ["fractalnet20_cifar", "fractalnet34"],
    "DenseNet": [
        "densenet121",
        "densenet161",
        "densenet169",
        "densenet201",
        "densenet264",
        "densenet40_k12_cifar",
        "densenet100_k12_cifar",
        "densenet100_k24_cifar",
        "densenet100_bc_k12_cifar",
        "densenet190_bc_k40_cifar",
        "densenet250_bc_k24_cifar",
    ],
    "SqueezeNet": ["squeezenet", "squeezenet1_1"],
    "SENet": ["seresnet50", "seresnet101", "seresnet152", "seresnext50_32x4d", "seresnext101_32x4d", "senet154"],
}


@pytest.mark.parametrize("architecture", LECTURES)
def test_the_registry_has_it(architecture):
    missing = [name for name in LECTURES[architecture] if name not in variants()]
    assert not missing
    # a reader knows it by its title, paper and input, without building it
    for name in LECTURES[architecture]:
        row = variants()[name]
        assert row.title
        assert row.paper
        assert row.input_shape[0] in row.macs
