"""Figures drawn from the graph: what is gathered, what repeats, what it costs, and that nothing overlaps or is cut."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import keras
import pytest
from keras import layers

import kerascnn
from kerascnn.analysis import count_macs, count_parameters
from kerascnn.analysis.boxes import Box
from kerascnn.analysis.diagram import diagram
from kerascnn.analysis.outline import Parallel, outline
from tests.networks import structure, without_values

SVG = "{http://www.w3.org/2000/svg}"


def titles(items):
    """Titles in a unit: a list for each branch, the join last."""
    found = []
    for item in items:
        if isinstance(item, Box):
            found.append(item.title)
        else:
            found += [[titles(branch) for branch in item.branches], item.join.title if item.join else None]
    return found


def runs(model):
    """(size of the maps, count, titles) of each run."""
    return [
        (stage.outputs, run.count, [titles(unit.items) for unit in run.units])
        for stage in outline(model).stages
        for run in stage.runs
    ]


def conv(x, filters=8, kernel=3, strides=1):
    return layers.Conv2D(filters, kernel, strides, padding="same")(x)


def test_a_residual_network_is_its_units_and_their_counts():
    block = [[["1×1 conv 64", "3×3 conv 64", "1×1 conv 256"], ["1×1 conv 256"]], "+"]
    repeated = [[["1×1 conv 64", "3×3 conv 64", "1×1 conv 256"], []], "+"]
    found = runs(structure("resnet50"))
    assert found[:4] == [
        ((112, 112, 64), 1, [["7×7 conv 64 /2"]]),
        ((56, 56, 256), 1, [["3×3 max pool /2"]]),
        ((56, 56, 256), 1, [block]),
        ((56, 56, 256), 2, [repeated]),
    ]
    assert [count for *_, count, units in found if units[0][-1] == "+"] == [1, 2, 1, 3, 1, 5, 1, 2]
    assert found[-1] == ((1000,), 1, [["dense 1000"]])


def test_names_decide_nothing():
    """The same network with the names that Keras gives has the same structure."""
    own = structure("resnet20_cifar")
    renamed = keras.models.clone_model(own, clone_function=_without_name)
    assert runs(renamed) == runs(own)


def _without_name(layer):
    config = layer.get_config()
    config.pop("name")
    return type(layer).from_config(config)


@pytest.mark.parametrize("name", ["lenet5_1998", "squeezenet", "resnet20_cifar", "plain20_cifar"])
def test_stages_cost_what_the_network_costs(name):
    with without_values():
        model = kerascnn.create_model(name)
    found = outline(model)
    assert (found.parameters, found.macs) == (count_parameters(model).trained, count_macs(model))
    model.trainable = False
    assert outline(model).parameters == found.parameters


def test_a_dense_block_is_one_unit_though_its_channels_grow():
    found = outline(structure("densenet40_k12_cifar"))
    blocks = [run for stage in found.stages for run in stage.runs if run.count > 1]
    assert [run.count for run in blocks] == [12, 12, 12]
    assert (blocks[0].outputs[0][-1], blocks[0].outputs[-1][-1]) == (28, 160)


def test_branches_within_branches_end_at_the_outer_join():
    """As in the last modules of Inception v4, where a branch forks once more and both ends go to the module's join."""
    images = keras.Input((8, 8, 4))
    x = conv(images, 6, 1)
    row, column = conv(x, 5, (1, 3)), conv(x, 5, (3, 1))
    model = keras.Model(images, layers.concatenate([conv(images, 7, 1), row, column, images]))
    ((_, _, (unit,)),) = runs(model)
    fork = [["1×3 conv 5"], ["3×1 conv 5"]]
    assert unit == [[["1×1 conv 7"], ["1×1 conv 6", fork, None], []], "concat"]
    check(diagram(model))


def test_groups_of_units_that_alternate_become_one_run():
    x = images = keras.Input((16, 16, 3))
    for _ in range(4):
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = conv(x, 3, 1)
    assert [(count, units) for _, count, units in runs(keras.Model(images, x))] == [
        (4, [["3×3 depthwise conv 3"], ["1×1 conv 3"]])
    ]


def test_a_part_without_series_and_branches_is_one_box_that_says_what_it_holds():
    """Five convolutions as a bridge: what the middle one reads and gives lies on both branches."""
    images = keras.Input((16, 16, 3))
    a, b = conv(images), conv(images)
    bridge = conv(a)
    left, right = conv(layers.add([a, bridge])), layers.add([b, bridge])
    model = keras.Model(images, layers.concatenate([left, right]))
    ((_, _, (unit,)),) = runs(model)
    assert unit == ["6 layers", "concat"]
    assert outline(model).parameters == model.count_params()
    assert "4 × 3×3 conv 8" in diagram(model)


def test_pre_activation_precedes_its_convolution_and_post_activation_follows():
    x = images = keras.Input((16, 16, 8))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = conv(x)
    before = outline(keras.Model(images, x)).stages[0].runs[0].units[0].boxes
    assert [(box.before, box.notes) for box in before] == [(("BN", "ReLU"), ())]
    x = layers.ReLU()(layers.BatchNormalization()(conv(images)))
    after = outline(keras.Model(images, x)).stages[0].runs[0].units[0].boxes
    assert [(box.before, box.notes) for box in after] == [((), ("BN", "ReLU"))]


def test_models_of_any_kind_are_drawn():
    """Nested models, operations, layers that are called twice, several inputs and outputs, sides of None."""
    images, vector = keras.Input((None, None, 3)), keras.Input((8,))
    inner_in = keras.Input((None, None, 8))
    inner = keras.Model(inner_in, conv(inner_in), name="inner")
    shared = layers.Conv2D(8, 3, padding="same")
    x = shared(shared(conv(images))) * 2.0
    x = inner(x) + x
    side = layers.Dense(2, name="side")(layers.GlobalAveragePooling2D()(x))
    x = layers.concatenate([layers.GlobalMaxPooling2D()(x), vector])
    model = keras.Model([images, vector], {"main": layers.Dense(5, name="main")(layers.Dense(9)(x)), "side": side})
    found = outline(model)
    assert found.macs is None
    assert found.parameters == model.count_params() - 8 * 2 - 2  # without the side
    assert found.others == ("side",)
    text = diagram(model, title="Odd & ends <1>")
    assert "Odd &amp; ends &lt;1&gt;" in text
    assert "inner" in text
    assert "? × ? × 3, 8" in text
    check(text)


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="'own' has no graph to draw"):
        diagram(Own(name="own"))


@pytest.mark.parametrize(
    "name",
    [
        "lenet5_1998",
        "googlenet",
        "squeezenet",
        "densenet40_k12_cifar",
        "wide_resnet16_4_cifar",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("seresnet50", "fractalnet20_cifar", "inception_v4")),
    ],
)
def test_nothing_overlaps_or_is_cut(name):
    check(diagram(structure(name)))


def check(text: str) -> None:
    """Boxes and text of a figure lie on its page and not on one another."""
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [_rectangle(r) for r in root.iter(f"{SVG}rect") if r.get("class").startswith("box ")]
    assert boxes
    for circle in root.iter(f"{SVG}circle"):
        x, y, r = (float(circle.get(key)) for key in ("cx", "cy", "r"))
        boxes.append((x - r, y - r, x + r, y + r))
    words = [_words(t) for t in root.iter(f"{SVG}text")]
    for left, top, right, bottom in boxes + words:
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    for several in (boxes, words):
        for a, b in itertools.combinations(several, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    for a, b in itertools.product(words, boxes):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        inside = a[0] >= b[0] and a[2] <= b[2] and a[1] >= b[1] and a[3] <= b[3]
        assert apart or inside, (a, b)


def _rectangle(rectangle):
    x, y, width, height = (float(rectangle.get(key)) for key in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def _words(text):
    """What a text takes up where letters are as wide as those of common fonts, and lower-case ones half their size."""
    size = {"note": 9, "head": 15}.get(text.get("class"), 11)
    length = 0.5 * size * len(text.text)
    x, y = float(text.get("x")), float(text.get("y"))
    start = {"middle": length / 2, "end": length}.get(text.get("text-anchor"), 0)
    if text.get("transform"):
        return x - 0.72 * size, y - length / 2, x, y + length / 2
    return x - start, y - 0.72 * size, x - start + length, y


def test_the_figure_is_the_same_every_time():
    """Files in git change only when the network does."""
    with without_values():
        again = kerascnn.applications.squeezenet()
    assert diagram(again) == diagram(structure("squeezenet"))


def test_series_and_branches_are_what_they_say():
    x = images = keras.Input((8, 8, 4))
    x = layers.add([conv(conv(x, 4), 4), x])
    ((_, _, (unit,)),) = runs(keras.Model(images, x))
    assert unit == [[["3×3 conv 4", "3×3 conv 4"], []], "+"]
    (item,) = outline(keras.Model(images, x)).stages[0].runs[0].units[0].items
    assert isinstance(item, Parallel)
