"""Caffe's networks, built with torch from their prototxts: the authors' own files, which whoever runs this fetches.

KERASCNN_PROTOTXTS names a folder of checkouts, such as BVLC/caffe in it for github.com/BVLC/caffe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kerascnn.weights.naming import alexnet, googlenet
from kerascnn.weights.naming.rules import rename

FOLDER = "KERASCNN_PROTOTXTS"

Message = dict[str, list[Any]]  # of a text file of protocol buffers

_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<token>"[^"]*"|\'[^\']*\'|[{}:]|[^\s{}:#"\']+)')
_OLD_TYPES = {"RELU": "ReLU", "LRN": "LRN", "INNER_PRODUCT": "InnerProduct"}  # others differ in capitals alone
_WITHOUT_WORK = ("Data", "Input", "Accuracy", "SoftmaxLoss", "SoftmaxWithLoss", "Softmax")


def missing(name: str) -> str:
    """Why a prototxt cannot be had; "" where it is at hand."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return f"{FOLDER} does not name a folder of prototxts"
    return "" if (Path(folder) / name).is_file() else f"{name} is not in {folder}"


def parse(text: str) -> Message:
    """Read a prototxt; every field is a list of its values."""
    tokens = [match["token"] for match in _TOKEN.finditer(text) if match["token"]]
    message, _ = _message(tokens, 0)
    return message


def _message(tokens: list[str], place: int) -> tuple[Message, int]:
    found: Message = {}
    while place < len(tokens) and tokens[place] != "}":
        key, place = tokens[place], place + 1
        if tokens[place] == ":":
            place += 1
        value: Any
        if tokens[place] == "{":
            value, place = _message(tokens, place + 1)
        else:
            value = tokens[place].strip("\"'")
        found.setdefault(key, []).append(value)
        place += 1
    return found, place


def build(name: str, channels: int) -> Any:
    """The network of a prototxt for inference, up to its logits, as a torch module on the device of the moment.

    Args:
        name: The file, within the folder.
        channels: Of its images.
    """
    import torch
    from torch.nn import functional

    net = parse((Path(os.environ[FOLDER]) / name).read_text())

    class Network(torch.nn.Module):
        """Layers by Caffe's names; batch normalization has the scale layer after it."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: list[tuple[Callable[..., Any], list[str], str]] = []
            widths: dict[str, int] = {}
            self.of_normalization: set[str] = set()
            for layer in [*net.get("layer", []), *net.get("layers", [])]:
                kind = _type(layer)
                phases = [rule["phase"][0] for rule in layer.get("include", []) if "phase" in rule]
                if (
                    kind in ("Data", "Input", "Accuracy", "SoftmaxLoss", "SoftmaxWithLoss", "Softmax")
                    or "TRAIN" in phases
                ):
                    continue
                bottoms, top, key = layer["bottom"], layer["top"][0], layer["name"][0]
                step, width = self.made(kind, layer, key, [widths.get(bottom, channels) for bottom in bottoms])
                widths[top] = width
                if step:
                    self.steps.append((step, bottoms, top))
            self.input, self.output = self.steps[0][1][0], self.steps[-1][2]

        def made(self, kind: str, layer: Message, key: str, widths: list[int]) -> tuple[Any, int]:
            """What a layer computes, and how many channels it gives."""
            if kind == "Convolution":
                p = layer["convolution_param"][0]
                sides = {"stride": _number(p, "stride", 1), "padding": _number(p, "pad", 0)}
                outputs, groups = _number(p, "num_output"), _number(p, "group", 1)
                bias = p.get("bias_term", ["true"])[0] != "false"
                made = torch.nn.Conv2d(widths[0], outputs, _number(p, "kernel_size"), groups=groups, bias=bias, **sides)
                return self.added(key, made), outputs
            if kind == "InnerProduct":
                outputs = _number(layer["inner_product_param"][0], "num_output")
                linear = self.added(key, torch.nn.LazyLinear(outputs))
                return lambda x: linear(x.flatten(1)), outputs
            if kind == "BatchNorm":
                self.of_normalization.add(layer["top"][0])
                return self.added(key, torch.nn.BatchNorm2d(widths[0])), widths[0]
            if kind == "Scale" and len(layer["bottom"]) == 1:
                assert layer["bottom"][0] in self.of_normalization, f"{key} scales no normalization"
                return None, widths[0]
            if kind == "Pooling":
                return _pooling(layer["pooling_param"][0]), widths[0]
            if kind == "LRN":
                p = layer["lrn_param"][0]
                size = _number(p, "local_size", 5)
                alpha, beta, k = (float(p.get(f, [d])[0]) for f, d in (("alpha", 1), ("beta", 0.75), ("k", 1)))
                return lambda x: functional.local_response_norm(x, size, alpha, beta, k), widths[0]
            steps: dict[str, Callable[..., Any]] = {
                "ReLU": functional.relu,
                "Sigmoid": torch.sigmoid,
                "Dropout": lambda x: x,
                "Reshape": lambda x: x.flatten(1),  # of a map of one pixel
                "Concat": lambda *x: torch.cat(x, 1),
                "Eltwise": lambda *x: sum(x[1:], x[0]),
                "Scale": lambda x, gate: x * gate[:, :, None, None],
                "Axpy": lambda gate, x, y: gate * x + y,
            }
            return steps[kind], sum(widths) if kind == "Concat" else widths[-1]

        def added(self, key: str, module: Any) -> Any:
            self.add_module(key.replace(".", "_"), module)
            return module

        def forward(self, x: Any) -> Any:
            blobs = {self.input: x}
            for step, bottoms, top in self.steps:
                blobs[top] = step(*(blobs[bottom] for bottom in bottoms))
            return blobs[self.output].flatten(1)

    return Network()


def _type(layer: Message) -> str:
    kind: str = layer["type"][0]
    return _OLD_TYPES.get(kind, kind.title() if kind.isupper() else kind).replace("_", "")


def _number(message: Message, field: str, default: int | None = None) -> int:
    return int(message.get(field, [default])[0])


def _pooling(p: Message) -> Callable[..., Any]:
    """Caffe rounds up, and counts its padding in averages."""
    from torch.nn import functional

    if p.get("global_pooling", ["false"])[0] == "true":
        return lambda x: x.mean((2, 3), keepdim=True)
    size, stride, padding = _number(p, "kernel_size"), _number(p, "stride", 1), _number(p, "pad", 0)
    pool = functional.max_pool2d if p.get("pool", ["MAX"])[0] == "MAX" else functional.avg_pool2d
    return lambda x: pool(x, size, stride, padding, ceil_mode=True)


# ours -> theirs

Names = Callable[[Iterable[str]], Mapping[str, str]]


def _kaiming(depth: int) -> Names:
    units = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]

    def unit(stage: int, block: int) -> str:
        many = units[stage - 2] > 6 or (units[stage - 2] == 8)
        letter = f"b{block - 1}" if many or (depth > 50 and stage == 3) else chr(ord("a") + block - 1)
        return f"{stage}{'a' if block == 1 else letter}"

    rules = [("conv1_conv", "conv1"), ("conv1_bn", "bn_conv1"), ("predictions", "fc1000")]
    for stage, count in enumerate(units, 2):
        for block in range(1, count + 1):
            for kind, prefix in (("conv", "res"), ("bn", "bn")):
                for i, branch in enumerate(("1", "2a", "2b", "2c")):
                    theirs = f"{prefix}{unit(stage, block)}_branch{branch}"
                    rules.append((f"conv{stage}_block{block}_{i}_{kind}", theirs))
    return lambda layers: rename(layers, rules)


_SENET = [
    ("conv1_conv", "conv1/7x7_s2"),
    ("conv1_bn", "conv1/7x7_s2/bn"),
    ("conv1_1_conv", "conv1_1/3x3_s2"),
    ("conv1_1_bn", "conv1_1/3x3_s2/bn"),
    (r"conv1_(\d)_conv", "conv1_{0}/3x3"),
    (r"conv1_(\d)_bn", "conv1_{0}/3x3/bn"),
    ("predictions", "classifier"),
    (r"conv(\d)_block(\d+)_se_(down|up)", "conv{0}_{1}_1x1_{2}"),
    *(
        (rf"conv(\d)_block(\d+)_{i}_{kind}", f"conv{{0}}_{{1}}_{theirs}{end}")
        for i, theirs in enumerate(("1x1_proj", "1x1_reduce", "3x3", "1x1_increase"))
        for kind, end in (("conv", ""), ("bn", "/bn"))
    ),
]
_SE_BN_INCEPTION = [
    ("predictions", "classifier"),
    ("(inception_..)_se_(down|up)", "{0}_1x1_{1}"),
    *(
        rule
        for kind, end in (("conv", ""), ("bn", "/bn"))
        for rule in (
            (f"conv([12])_(.*)_{kind}", f"conv{{0}}/{{1}}{end}"),
            (f"(inception_..)_double_3x3_reduce_{kind}", f"{{0}}/double3x3_reduce{end}"),
            (f"(inception_..)_double_3x3_1_{kind}", f"{{0}}/double3x3a{end}"),
            (f"(inception_..)_double_3x3_2_{kind}", f"{{0}}/double3x3b{end}"),
            (f"(inception_..)_(.*)_{kind}", f"{{0}}/{{1}}{end}"),
        )
    ),
]
NAMES: Mapping[str, Names] = {
    "alexnet": alexnet.caffe,
    "googlenet": googlenet.caffe,
    "lenet": lambda layers: rename(layers, [("predictions", "ip2"), ("(.*)", "{0}")]),
    "squeezenet": lambda layers: rename(layers, [("(fire.)_(.*)", "{0}/{1}"), ("(.*)", "{0}")]),
    "nin": lambda layers: rename(layers, [("(conv4|cccp7|cccp8)", "{0}-1024"), ("(.*)", "{0}")]),
    "resnet50": _kaiming(50),
    "resnet101": _kaiming(101),
    "resnet152": _kaiming(152),
    "senet": lambda layers: rename(layers, _SENET),
    "bn_inception": lambda layers: rename(layers, _SE_BN_INCEPTION),
}
