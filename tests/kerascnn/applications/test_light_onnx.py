"""The ONNX zoo's graphs, which come with the onnx package, state the same networks independently: layer by layer.

Both graphs are read into nodes with the same traits and walked side by side from the output, so that wiring and the
order of concatenations are compared too. Merged into the layer before: activations, dropout, flattening, and Caffe's
scale layers, which are the second half of its batch normalisation. Merged into the layer after: our ZeroPadding2D.
Where the graphs may differ is in DIFFERENCES; anything else fails, and so does an entry that no longer holds.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from keras import layers

from kerascnn.layers import LocalResponseNormalization
from tests.networks import structure

onnx = pytest.importorskip("onnx", reason="the ONNX zoo's graphs come with the onnx package")

# id: (variant, options, file)
NETWORKS = {
    "alexnet": ("alexnet", {}, "bvlc_alexnet"),
    "densenet121": ("densenet121", {}, "densenet121"),
    "googlenet": ("googlenet", {}, "inception_v1"),
    "bn_inception": ("bn_inception", {"pool_counts_padding": False}, "inception_v2"),
    "resnet50": ("resnet50", {"pool_padding": 1}, "resnet50"),
    "resnet50_v1.5": ("resnet50", {"stride_in_1x1": False, "pool_padding": 1}, "resnet50"),
    "squeezenet1_1": ("squeezenet1_1", {}, "squeezenet"),
    "vgg19": ("vgg19", {}, "vgg19"),
    "zfnet_wide": ("zfnet_wide", {"normalization": "pytorchcv"}, "zfnet512"),
}

DENSE = "op dense, activation softmax"
ONES = "op conv, kernel 1x1, stride 1, pads 0, dilation 1, groups 1"
GLOBAL, WINDOW = "op global average", "op average, kernel 7x7, stride 1, pads 0"
POOLS = "pool1_3x3_s2 pool2_3x3_s2 pool3_3x3_s2 pool4_3x3_s2"

CROP = "at 227, Caffe's own crop too, the paper's map sizes come out; at 224 pool5 sees 12x12 and pads for fc6's 6x6"
SECTION_3_3 = "ours are the paper's constants, theirs are Caffe's"
LOGITS = "a 1x1 convolution of the 1x1 map is the same function; theirs ends with logits"
WHOLE_MAP = "its window is the whole map at 224; ours is so at every size"
ROUNDED = "Caffe rounds up, which the conversion lost: their maps are 55, 27, 13 and 6, Caffe's and ours 56, 28, 14, 7"
UNREACHED = "no window reaches our second row and column at 224; odd maps need them"
SUMS = "Figure 5 prints projections of 128 but outputs of 576, 576 and 1024, which 96 gives; public weights have 128"
FIGURE_3 = "Figure 3 prints maps of 110, 55, 26, 13 and 6; theirs are 109, 54, 25, 12 and 6"
WIDTHS = "theirs is another network of the same plan: 512 filters in layers 3 to 5, 1024 units in fc7, no dropout"
CONSTANTS = "theirs are AlexNet's constants; ours here pytorchcv's, by default AlexNet's too but after the pool"
STRIDE = "theirs has torchvision's form, stride in the 3x3; the paper's is in the first 1x1"

# id, layers of ours, what only ours has, what only theirs has, why
DIFFERENCES = [
    ("alexnet", "input", "size 227x227x3", "size 224x224x3", CROP),
    ("alexnet", "norm1 norm2", "alpha 0.0005, bias 2", "alpha 0.0001, bias 1", SECTION_3_3),
    ("alexnet", "pool5", "pads 0", "pads 0,0,1,1", CROP),
    ("densenet121", "predictions", DENSE, ONES, LOGITS),
    ("googlenet", POOLS, "pads 0,0,1,1", "pads 0", ROUNDED),
    ("googlenet", "avg_pool", GLOBAL, f"{WINDOW},0,1,1 not counted", f"{WHOLE_MAP}; {ROUNDED}"),
    ("bn_inception", "inception_3c_pool inception_4e_pool", "pads 0,0,2,2", "pads 0,0,1,1", UNREACHED),
    ("bn_inception", "inception_4c_pool_proj_conv", "channels 576->128", "channels 576->96", SUMS),
    ("bn_inception", "inception_4c_pool_proj_bn inception_4d_pool_proj_bn", "channels 128", "channels 96", SUMS),
    ("bn_inception", "inception_4d_1x1_conv", "channels 608->96", "channels 576->96", SUMS),
    ("bn_inception", "inception_4d_3x3_reduce_conv", "channels 608->128", "channels 576->128", SUMS),
    ("bn_inception", "inception_4d_double_3x3_reduce_conv", "channels 608->160", "channels 576->160", SUMS),
    ("bn_inception", "inception_4d_pool_proj_conv", "channels 608->128", "channels 576->96", SUMS),
    ("bn_inception", "inception_4e_3x3_reduce_conv", "channels 608->128", "channels 576->128", SUMS),
    ("bn_inception", "inception_4e_double_3x3_reduce_conv", "channels 608->192", "channels 576->192", SUMS),
    ("bn_inception", "inception_5a_1x1_conv", "channels 1056->352", "channels 1024->352", SUMS),
    ("bn_inception", "inception_5a_3x3_reduce_conv", "channels 1056->192", "channels 1024->192", SUMS),
    ("bn_inception", "inception_5a_double_3x3_reduce_conv", "channels 1056->160", "channels 1024->160", SUMS),
    ("bn_inception", "inception_5a_pool_proj_conv", "channels 1056->128", "channels 1024->128", SUMS),
    ("bn_inception", "avg_pool", GLOBAL, WINDOW, WHOLE_MAP),
    ("resnet50", " ".join(f"conv{i}_block1_1_conv" for i in (3, 4, 5)), "stride 2", "stride 1", STRIDE),
    ("resnet50", " ".join(f"conv{i}_block1_2_conv" for i in (3, 4, 5)), "stride 1", "stride 2", STRIDE),
    ("resnet50", "avg_pool", GLOBAL, WINDOW, WHOLE_MAP),
    ("resnet50_v1.5", "avg_pool", GLOBAL, WINDOW, WHOLE_MAP),
    ("zfnet_wide", "conv1", "pads 1", "pads 0", FIGURE_3),
    ("zfnet_wide", "pool1 pool2", "pads 0,0,1,1", "pads 0", FIGURE_3),
    ("zfnet_wide", "pool5", "kernel 3x3", "kernel 2x2", FIGURE_3),
    ("zfnet_wide", "norm1 norm2", "alpha 0.0001", "alpha 0.0005", CONSTANTS),
    ("zfnet_wide", "conv4", "channels 512->1024", "channels 512->512", WIDTHS),
    ("zfnet_wide", "conv5", "channels 1024->512", "channels 512->512", WIDTHS),
    ("zfnet_wide", "fc6", "dropout 0.5", "", WIDTHS),
    ("zfnet_wide", "fc7", "channels 4096->4096, dropout 0.5", "channels 4096->1024", WIDTHS),
    ("zfnet_wide", "predictions", "channels 4096->1000", "channels 1024->1000", WIDTHS),
]


@dataclass
class Node:
    """A layer; `op` among its traits says what it is."""

    name: str
    traits: dict[str, str]
    inputs: list["Node"]
    depth: int  # layers up to here on the longest path


def graph(read):
    """Nodes from (name, traits, names of inputs), inputs first; traits without `op` belong to the node before."""
    read = list(read)
    readers = Counter(source for _, _, sources in read for source in sources)
    nodes, by_name = [], {}
    for name, traits, sources in read:
        inputs = [by_name[source] for source in sources]
        if "op" in traits:
            if traits["op"] == "add":
                inputs.sort(key=lambda node: node.depth)  # the order of a sum says nothing: shortcut first
            node = Node(name, dict(traits), inputs, 1 + max((node.depth for node in inputs), default=0))
            nodes.append(node)
        else:
            (node,) = inputs
            assert readers[sources[0]] == 1, f"{sources[0]} is also read without {name}"
            assert not traits.keys() & node.traits.keys(), f"{name} repeats what {node.name} has: {traits}"
            node.traits.update(traits)
        by_name[name] = node
    return nodes


def short(values):
    """One number where all are the same."""
    return ",".join(map(str, values)) if len(set(values)) > 1 else str(values[0])


def window(kernel, strides, pads):
    return {"kernel": "x".join(map(str, kernel)), "stride": short(strides), "pads": short(pads)}


def conv(window, dilation, groups, inputs, outputs, bias):
    own = {"dilation": short(dilation), "groups": str(groups), "channels": f"{inputs * groups}->{outputs}"}
    return {"op": "conv", **window, **own, "bias": str(bias)}


def dense(inputs, outputs, bias):
    return {"op": "dense", "channels": f"{inputs}->{outputs}", "bias": str(bias)}


def average(window, counted):
    counts = " counted" if counted else " not counted"
    return {"op": "average", **window, "pads": window["pads"] + (counts if window["pads"] != "0" else "")}


def norm(channels, epsilon):
    return {"op": "norm", "channels": str(channels), "epsilon": f"{epsilon:.3g}"}


def lrn(size, alpha, beta, bias):
    """ONNX's numbers: its alpha is divided by the size."""
    return {"op": "lrn", "size": str(size), "alpha": f"{alpha:.3g}", "beta": f"{beta:.3g}", "bias": f"{bias:.3g}"}


def ours(model):
    """The layers of a Keras model; pads are (top, left, bottom, right), as in ONNX."""
    names = {id(layer.output): layer.name for layer in model.layers}
    padded = {}  # ZeroPadding2D: (what it pads, its pads)
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            names[id(layer.output)] = "input"
            yield "input", {"op": "input", "size": "x".join(map(str, layer.output.shape[1:]))}, []
            continue
        first, *others = [names[id(x)] for x in (layer.input if isinstance(layer.input, list) else [layer.input])]
        before, pads = padded.get(first, (first, (0, 0, 0, 0)))
        if isinstance(layer, layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            padded[layer.name] = before, tuple(a + b for a, b in zip(pads, (top, left, bottom, right), strict=True))
        else:
            traits = keras_traits(layer, pads)
            assert before == first or "pads" in traits, f"{layer.name} follows a padding"
            yield layer.name, traits, [before, *others]


def keras_traits(layer, pads):
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    activated = {} if activation == "linear" else {"activation": activation}
    match layer:
        case layers.Conv2D():
            kernel = keras_window(layer, layer.kernel_size, pads)
            inputs, outputs = layer.kernel.shape[2:]
            return conv(kernel, layer.dilation_rate, layer.groups, inputs, outputs, layer.use_bias) | activated
        case layers.Dense():
            return dense(*layer.kernel.shape, layer.use_bias) | activated
        case layers.MaxPooling2D():
            return {"op": "max", **keras_window(layer, layer.pool_size, pads)}
        case layers.AveragePooling2D():
            return average(keras_window(layer, layer.pool_size, pads), any(pads))
        case layers.BatchNormalization(scale=True, center=True):
            return norm(layer.gamma.shape[0], layer.epsilon)
        case LocalResponseNormalization():
            return lrn(layer.size, layer.alpha * layer.size, layer.beta, layer.bias)
        case layers.Dropout():
            return {"dropout": f"{layer.rate:.3g}"}
        case layers.Activation() | layers.Flatten():
            return activated
    joins = {layers.GlobalAveragePooling2D: "global average", layers.Concatenate: "concat", layers.Add: "add"}
    return {"op": joins[type(layer)]}


def keras_window(layer, kernel, pads):
    if layer.padding == "same":
        assert set(layer.strides) == {1}, "what `same` pads at a stride depends on the size"
        assert not any(pads)
        pads = [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
    return window(kernel, layer.strides, pads)


def theirs(file):
    """The layers of the ONNX zoo's network; its weights are constants, of which only the shapes matter."""
    zoo = onnx.load(Path(onnx.__file__).parent / f"backend/test/data/light/light_{file}.onnx").graph
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in zoo.initializer}
    shapes = {name: array.shape for name, array in arrays.items()}
    for node in zoo.node:
        first = node.input[0]
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = arrays[first].tolist()
        elif node.op_type in ("Reshape", "Unsqueeze") and first in shapes:
            shapes[node.output[0]] = arrays[node.input[1]].tolist() if node.op_type == "Reshape" else shapes[first]
    (images,) = [value for value in zoo.input if value.name not in shapes]
    _, channels, height, width = [dim.dim_value for dim in images.type.tensor_type.shape.dim]
    yield images.name, {"op": "input", "size": f"{height}x{width}x{channels}"}, []
    makers = {node.output[0]: node.op_type for node in zoo.node}
    for node in zoo.node:
        if node.output[0] not in shapes:
            scales = node.op_type in ("Mul", "Add")  # Caffe's scale layer
            assert not scales or makers[node.input[0]] in ("BatchNormalization", "Mul"), node.output[0]
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            traits = onnx_traits(node.op_type, attributes.pop, [shapes[name] for name in node.input if name in shapes])
            assert not attributes, f"{node.output[0]}: {node.op_type} has what is not compared: {attributes}"
            yield node.output[0], traits, [name for name in node.input if name not in shapes]


def onnx_traits(op, take, weights):
    """What `take` takes from the attributes is compared; the caller refuses what it leaves."""
    match op:
        case "Conv":
            outputs, inputs, *_ = weights[0]
            return conv(onnx_window(take), take("dilations", [1]), take("group", 1), inputs, outputs, len(weights) == 2)
        case "Gemm":
            assert take("transB") == 1
            return dense(*reversed(weights[0]), len(weights) == 2)
        case "MaxPool":
            return {"op": "max", **onnx_window(take)}
        case "AveragePool":
            return average(onnx_window(take), take("count_include_pad", 0))
        case "BatchNormalization":
            return norm(*weights[0], take("epsilon"))
        case "LRN":
            return lrn(take("size"), take("alpha"), take("beta"), take("bias"))
        case "Dropout":
            return {"dropout": f"{take('ratio'):.3g}"}
        case "Relu" | "Softmax":
            return {"activation": op.lower()}
        case "Reshape" | "Mul" | "Add":
            return {}
        case "Concat":
            assert take("axis") == 1
    return {"op": {"GlobalAveragePool": "global average", "Concat": "concat", "Sum": "add"}[op]}


def onnx_window(take):
    return window(take("kernel_shape"), take("strides"), take("pads", [0]))


def differences(ours, theirs):
    """{layer of ours: (what only it has, what only its partner has)}, walking both graphs from their outputs."""
    found, partners = {}, {}
    pending = [(ours[-1], theirs[-1])]
    while pending:
        mine, other = pending.pop()
        if mine.name in partners:
            assert partners[mine.name] == other.name, f"{mine.name} is read where theirs reads {other.name}"
            continue
        partners[mine.name] = other.name
        assert len(mine.inputs) == len(other.inputs), f"{mine.name} joins another number of maps than {other.name}"
        if mine.traits != other.traits:
            found[mine.name] = only(mine.traits, other.traits), only(other.traits, mine.traits)
        pending += zip(mine.inputs, other.inputs, strict=True)
    assert len(ours) == len(theirs) == len(partners) == len(set(partners.values()))
    return found


def only(traits, others):
    return ", ".join(f"{key} {value}" for key, value in traits.items() if others.get(key) != value)


def compared(variant, file, **options):
    return differences(graph(ours(structure(variant, **options))), graph(theirs(file)))


@pytest.mark.parametrize("network", NETWORKS)
def test_graph_is_the_onnx_zoos(network):
    variant, options, file = NETWORKS[network]
    rows = [row[1:4] for row in DIFFERENCES if row[0] == network]
    assert compared(variant, file, **options) == {layer: (a, b) for names, a, b in rows for layer in names.split()}


def test_comparison_sees_a_pad_and_a_wire():
    assert compared("squeezenet1_1", "squeezenet", conv10_padding=1) == {"conv10": ("pads 1", "pads 0")}
    with pytest.raises(AssertionError, match="fire9"):
        compared("squeezenet1_1", "squeezenet", bypass="simple")
