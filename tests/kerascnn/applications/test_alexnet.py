"""AlexNet: the two conventions of its normalization, its author's rule of rounding, and the one-tower networks."""

import keras
import numpy as np
import pytest

from kerascnn import applications
from tests.networks import structure


def alphas(model):
    return [layer.alpha for layer in model.layers if layer.name.startswith("norm")]


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "zfnet_wide"])
def test_normalization_by_the_sum_or_by_the_average_of_squares(name):
    """The paper's formula has alpha 1e-4 on the sum; cuda-convnet2's layer.py, line 1331, divides it by the window."""
    assert alphas(structure(name, include_top=False)) == [1e-4, 1e-4]
    assert alphas(structure(name, include_top=False, lrn_average=True)) == [2e-5, 2e-5]


@pytest.mark.parametrize("side", [224, 227])
def test_the_papers_maps_follow_from_224_too(side):
    """1 + ceil((n - f) / s), cuda-convnet2's layer.py, line 1097: 55, 27, 13 and 6 pixels from either size."""
    for name in ("alexnet", "alexnet_owt_krizhevsky"):
        model = structure(name, input_shape=(side, side, 3))
        sides = [model.get_layer(layer).output.shape[1] for layer in ("conv1", "conv2", "conv3", "pool5")]
        assert sides == [55, 27, 13, 6]
        other = structure(name, input_shape=(239, 239, 3), include_top=False)
        assert [other.get_layer(layer).output.shape[1] for layer in ("conv1", "pool1", "pool5")] == [58, 29, 7]
    open_sides = structure("alexnet", input_shape=(None, None, 3), include_top=False)
    assert open_sides.compute_output_shape((1, side, side, 3)) == (1, 6, 6, 256)


def test_the_last_window_reaches_over_the_edge():
    """A convolution of ones counts the pixels that its windows have: 11 in each but the last, which has 8."""
    model = applications.alexnet(input_shape=(224, 224, 3), include_top=False)
    conv1 = model.get_layer("conv1")
    conv1.set_weights([np.ones(weight.shape) * (weight.ndim == 4) for weight in conv1.get_weights()])
    counted = keras.Model(model.input, conv1.output)(np.ones((1, 224, 224, 3), "float32"))
    rows = np.asarray(counted)[0, :, 0, 0] / (3 * 11)
    np.testing.assert_allclose(rows, [11] * 54 + [8], rtol=1e-5)


def test_krizhevskys_one_tower_normalizes_before_it_rectifies():
    """layers-imagenet-1gpu.cfg: rnorm1 takes conv1 as it is, and pool1 has the neurons."""
    model = structure("alexnet_owt_krizhevsky")
    assert model.get_layer("conv1").activation is keras.activations.linear
    names = [layer.name for layer in model.layers]
    assert names[names.index("conv1") :][:6] == ["conv1", "norm1", "pool1", "relu1", "conv2", "norm2"]
    assert alphas(model) == [2e-5, 2e-5]
    assert names[names.index("fc6") :][:4] == ["fc6", "fc6_dropout", "fc7", "fc7_dropout"]
