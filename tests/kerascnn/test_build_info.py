"""What kerascnn notes about a model, and who carries it over."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import keras
import pytest

import kerascnn
from kerascnn.build_info import BuildInfo, build_info, carry_over, set_build_info
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.photos.preprocessing import Preprocessing

RECORD = kerascnn.variant("squeezenet_cifar").weights[0]


def test_a_builder_notes_what_it_built():
    model = kerascnn.create_model("squeezenet_cifar", input_shape=(32, 32, 1), classifier_activation=None)
    info = build_info(model)
    assert (info.variant, info.weights, info.given) == ("squeezenet_cifar", None, frozenset())
    assert info.top == {"classifier_activation": None}
    assert info.preprocessing.channel_order == "gray"
    assert info.preceding == {"images"}
    with pytest.raises(FrozenInstanceError):
        info.variant = "other"


def test_a_model_of_ones_own_has_none_until_it_is_noted():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    assert build_info(model) is None
    assert build_info(carry_over(model, model)) is None
    set_build_info(model, BuildInfo(preprocessing=Preprocessing()))
    derived = carry_over(model, keras.Model(model.input, model.output), variant="other")
    assert build_info(derived) == replace(build_info(model), variant="other")


def test_class_names_are_those_of_the_weights_where_the_head_is_theirs():
    assert BuildInfo(weights=RECORD).class_names(10) == CIFAR10_CLASSES
    assert BuildInfo(weights=RECORD).class_names(5) is None
    assert BuildInfo().class_names(10) is None
    assert BuildInfo(members={"a": RECORD, "b": RECORD}).class_names(10) == CIFAR10_CLASSES
    assert BuildInfo(members={"a": RECORD, "b": None}).class_names(10) is None


def test_it_is_read_without_keras():
    code = "import sys, kerascnn.build_info; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
