"""Which network of which package each variant must equal, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reference:
    """An independent implementation of a variant.

    naming: the function of the family's mapping that names its keys.
    options: what ours needs to be the same network; arguments: what theirs needs.
    side: of the square input that outputs are compared on.
    early_stride: move the strides of theirs from the 3x3 to the first 1x1 of each unit, which no option of theirs does.
    """

    variant: str
    package: str
    name: str
    naming: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    side: int = 96
    early_stride: bool = False

    @property
    def title(self) -> str:
        """Such as `torchvision resnet50`."""
        return f"{self.package} {self.name}{' (strides moved to the 1x1)' if self.early_stride else ''}"

    @property
    def key(self) -> str:
        """Such as `resnet50-torchvision`: the name of its golden file."""
        package = self.naming if self.naming.endswith("_legacy") else self.package
        return "-".join([self.variant, package, *(["early_stride"] if self.early_stride else [])])


def _torchvision(variant: str, name: str | None = None, naming: str = "torchvision", **fields: Any) -> Reference:
    return Reference(variant, "torchvision", name or variant, naming, **fields)


def _timm(variant: str, name: str | None = None, naming: str = "timm", **fields: Any) -> Reference:
    return Reference(variant, "timm", name or variant, naming, **fields)


def _pytorchcv(variant: str, name: str, naming: str = "pytorchcv", **fields: Any) -> Reference:
    return Reference(variant, "pytorchcv", name, naming, **fields)


def _caffe(variant: str, name: str, naming: str, **fields: Any) -> Reference:
    return Reference(variant, "caffe", name, naming, **fields)


EARLY: Mapping[str, Any] = {"stride_in_1x1": True}  # the paper's and the default, said because the naming says other
LATE: Mapping[str, Any] = {"stride_in_1x1": False}
RELU: Mapping[str, Any] = {"relu_before_se": True}
PADDED: Mapping[str, Any] = {"pool_padding": 1}
COUNTED: Mapping[str, Any] = {"pool_counts_padding": True}
NORMALIZED_FIRST: Mapping[str, Any] = {"normalization": "pytorchcv"}
NO_AUXILIARY: Mapping[str, Any] = {"aux_logits": False, "init_weights": False, "transform_input": False}

REFERENCES = (
    _torchvision("alexnet_owt", "alexnet", side=127),
    _torchvision("squeezenet", "squeezenet1_0", "torchvision1_0"),
    _torchvision("squeezenet1_1", naming="torchvision1_1"),
    _pytorchcv("squeezenet", "squeezenet_v1_0", "pytorchcv1_0", side=224),
    _pytorchcv("squeezenet1_1", "squeezenet_v1_1", "pytorchcv1_1", side=224),
    *(_torchvision(f"vgg{depth}", side=224) for depth in (11, 13, 16, 19)),
    *(_torchvision(f"vgg{depth}_bn", side=224) for depth in (11, 13, 16, 19)),
    _torchvision("googlenet_bn", "googlenet", arguments=NO_AUXILIARY),
    _pytorchcv("bn_inception", "bninception", options=COUNTED, side=224),
    _torchvision("inception_v3", options=COUNTED, arguments=NO_AUXILIARY, side=107),
    _timm("inception_v3", naming="torchvision", options=COUNTED, side=107),
    _timm("inception_v4", side=107),
    _timm("inception_resnet_v2", side=107),
    *(_torchvision(f"resnet{depth}", options=PADDED) for depth in (18, 34)),
    *(_torchvision(f"resnet{depth}", options={**LATE, **PADDED}) for depth in (50, 101, 152)),
    *(_torchvision(f"resnet{depth}", options={**EARLY, **PADDED}, early_stride=True) for depth in (50, 101, 152)),
    *(_timm(f"resnet{depth}_v2", f"resnetv2_{depth}", options={"stem": "timm"}) for depth in (18, 34, 50, 101, 152)),
    _pytorchcv("resnet200_v2", "preresnet200b", options={"stem": "pytorchcv"}, side=224),
    *(
        _pytorchcv(f"resnet{depth}_cifar", f"resnet{depth}_cifar10", options={"shortcut": "B"}, side=32)
        for depth in (20, 56, 110)
    ),
    _pytorchcv("resnet164_cifar", "resnet164bn_cifar10", options=LATE, side=32),
    _pytorchcv("resnet1202_cifar", "resnet1202_cifar10", options={"shortcut": "B"}, side=32),
    _pytorchcv("resnet110_v2_cifar", "preresnet110_cifar10", options={"shortcut": "B", "stem": "pytorchcv"}, side=32),
    _pytorchcv("resnet164_v2_cifar", "preresnet164bn_cifar10", options=LATE, side=32),
    _pytorchcv("resnet1001_v2_cifar", "preresnet1001_cifar10", options=LATE, side=32),
    *(_torchvision(f"wide_resnet{depth}_2") for depth in (50, 101)),
    _pytorchcv("wide_resnet28_10_cifar", "wrn28_10_cifar10", side=32),
    _torchvision("resnext50_32x4d"),
    _timm("resnext101_32x4d", naming="torchvision"),
    _torchvision("resnext101_32x8d"),
    _torchvision("resnext101_64x4d"),
    _pytorchcv("resnext29_16x64d_cifar", "resnext29_16x64d_cifar10", side=32),
    *(_torchvision(f"densenet{depth}") for depth in (121, 161, 169, 201)),
    *(
        _pytorchcv(f"densenet{depth}_bc_k{k}_cifar", f"densenet{depth}_k{k}_bc_cifar10", side=32)
        for depth, k in ((40, 36), (100, 12), (190, 40), (250, 24))
    ),
    *(_timm(f"seresnet{depth}", f"legacy_seresnet{depth}", "timm_legacy", options=RELU) for depth in (18, 34)),
    *(_timm(f"seresnet{depth}", f"legacy_seresnet{depth}", "timm_legacy", options=EARLY) for depth in (50, 101, 152)),
    *(_timm(f"seresnext{depth}_32x4d", f"legacy_seresnext{depth}_32x4d", "timm_legacy") for depth in (50, 101)),
    _timm("senet154", "legacy_senet154", "timm_legacy"),
    _timm("seresnet50", options={**LATE, **PADDED}),
    _timm("seresnext50_32x4d", options=PADDED),
    _timm("senet154", options=PADDED),
    _pytorchcv("zfnet", "zfnet", options=NORMALIZED_FIRST, side=224),
    _pytorchcv("zfnet_wide", "zfnetb", options=NORMALIZED_FIRST, side=224),
    _pytorchcv("fractalnet20_cifar", "fractalnet_cifar10", options={"pool_before_join": False}, side=32),
    _caffe(
        "alexnet",
        "BVLC/caffe/models/bvlc_alexnet/deploy.prototxt",
        "alexnet",
        options={"lrn_average": True, "lrn_bias": 1},
        side=227,
    ),
    _caffe("googlenet", "BVLC/caffe/models/bvlc_googlenet/deploy.prototxt", "googlenet", side=224),
    _caffe("lenet_caffe", "BVLC/caffe/examples/mnist/lenet.prototxt", "lenet", side=28),
    _caffe(
        "squeezenet",
        "forresti/SqueezeNet/SqueezeNet_v1.0/deploy.prototxt",
        "squeezenet",
        options={"conv10_padding": 1},
    ),
    _caffe(
        "squeezenet",
        "songhan/SqueezeNet-Residual/trainval.prototxt",
        "squeezenet",
        options={"conv10_padding": 1, "bypass": "simple"},
    ),
    _caffe("squeezenet1_1", "forresti/SqueezeNet/SqueezeNet_v1.1/deploy.prototxt", "squeezenet"),
    _caffe("nin", "thuml/HashNet/caffe/models/nin_imagenet/train_val.prototxt", "nin", side=224),
    *(
        _caffe(
            f"resnet{depth}",
            f"KaimingHe/deep-residual-networks/prototxt/ResNet-{depth}-deploy.prototxt",
            f"resnet{depth}",
            side=224,
        )
        for depth in (50, 101, 152)
    ),
    *(
        _caffe(variant, f"hujie-frank/SENet/models/{name}.prototxt", "senet", side=224)
        for variant, name in (
            ("seresnet50", "SE-ResNet-50"),
            ("seresnet101", "SE-ResNet-101"),
            ("seresnet152", "SE-ResNet-152"),
            ("seresnext50_32x4d", "SE-ResNeXt-50"),
            ("seresnext101_32x4d", "SE-ResNeXt-101"),
            ("senet154", "SENet-154"),
        )
    ),
    _caffe(
        "se_bn_inception",
        "hujie-frank/SENet/models/SE-BN-Inception.prototxt",
        "bn_inception",
        side=224,
    ),
    _pytorchcv("nin_cifar", "nin_cifar10", options={**PADDED, "pool2": "average"}, side=32),
)
