"""ZFNet: map sizes of the paper's figure, and where its contrast normalisation is."""

import keras
import numpy as np
import pytest

from kerascnn import applications
from tests.networks import structure


@pytest.mark.parametrize("options", [{}, {"normalization": "pytorchcv"}], ids=str)
def test_map_sizes_of_figure_3(options):
    model = structure("zfnet", include_top=False, **options)
    sides = {name: model.get_layer(name).output.shape[1] for name in ("conv1", "pool1", "conv2", "pool2", "pool5")}
    assert sides == {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "pool5": 6}


def normalized(x, alpha):
    """Over five neighbouring maps: x / (2 + alpha * sum of squares) ** 0.75."""
    padded = np.pad(x**2, [(0, 0), (0, 0), (0, 0), (2, 2)])
    return x / (2 + alpha * sum(padded[..., i : i + x.shape[-1]] for i in range(5))) ** 0.75


def pooled(x):
    """Windows of 3x3 at every second pixel; the last may reach over the edge."""
    sides = [-(-(n - 3) // 2) + 1 for n in x.shape[1:3]]
    rows = np.stack([x[:, 2 * i : 2 * i + 3].max(axis=1) for i in range(sides[0])], axis=1)
    return np.stack([rows[:, :, 2 * j : 2 * j + 3].max(axis=2) for j in range(sides[1])], axis=2)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("after_pool", lambda x: normalized(pooled(x), 1e-4)),
        ("pytorchcv", lambda x: pooled(normalized(x, 2e-5))),
    ],
)
def test_normalization(normalization, expected):
    """On maps so large that the order shows, which it does not at the scale of random weights."""
    model = applications.zfnet(include_top=False, input_shape=(61, 62, 3), normalization=normalization)
    for number in ("1", "2"):
        maps = model.get_layer(f"conv{number}").output
        reads = model.get_layer("conv2" if number == "1" else "conv3").input
        x = np.random.default_rng(0).uniform(0, 300, (2, *maps.shape[1:])).astype("float32")
        np.testing.assert_allclose(np.asarray(keras.Model(maps, reads)(x)), expected(x), rtol=1e-4)


def test_the_two_differ_in_three_widths():
    widths = [
        [layer.filters for layer in structure(name, include_top=False).layers if isinstance(layer, keras.layers.Conv2D)]
        for name in ("zfnet", "zfnet_wide")
    ]
    assert widths == [[96, 256, 384, 384, 256], [96, 256, 512, 1024, 512]]
    with pytest.raises(ValueError, match="'after_pool', 'pytorchcv'"):
        applications.zfnet(normalization="before")
    with pytest.raises(ValueError, match="needs a fixed input size"):
        applications.zfnet(input_shape=(None, None, 3))
