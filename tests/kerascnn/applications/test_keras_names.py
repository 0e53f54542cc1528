"""The names of keras.applications stand for the same architectures here."""

import keras
import pytest

import kerascnn
from kerascnn.applications import keras_names


def snake(name: str) -> str:
    parts = {"ResNet": "resnet", "DenseNet": "densenet", "Inception": "inception_", "VGG": "vgg", "V2": "_v2"}
    for camel, plain in parts.items():
        name = name.replace(camel, plain)
    return name.replace("V3", "v3").replace("__", "_")


@pytest.mark.parametrize("name", keras_names.__all__)
def test_each_is_a_builder_of_the_same_name(name):
    builder = getattr(kerascnn.applications, name)
    assert hasattr(keras.applications, name)
    assert builder is getattr(kerascnn.applications, snake(name))


def test_none_is_missing():
    """Every architecture of keras.applications that is a variant here has its alias."""
    ours = {name.replace("_", "") for name in kerascnn.list_models()}
    theirs = [name for name in dir(keras.applications) if name[0].isupper() and name.lower() in ours]
    assert sorted(keras_names.__all__) == sorted(theirs)
