"""The reader of prototxts, which needs no torch."""

from __future__ import annotations

import pytest

from . import caffe

TEXT = """
name: "net"  # a comment: with { marks }
input_dim: 1 input_dim: 3
layer { name: 'conv1' type: "Convolution" bottom: "data" convolution_param { num_output: 64 pad: 3 } }
layers: { name: "relu" type: INNER_PRODUCT include: { phase: TRAIN } }
"""


def test_prototxts_are_read() -> None:
    """Both forms of layers, quotes of either kind, repeated fields."""
    net = caffe.parse(TEXT)
    assert net["input_dim"] == ["1", "3"]
    (layer,) = net["layer"]
    assert layer["convolution_param"] == [{"num_output": ["64"], "pad": ["3"]}]
    assert layer["name"] == ["conv1"]
    assert caffe._type(net["layers"][0]) == "InnerProduct"
    assert net["layers"][0]["include"] == [{"phase": ["TRAIN"]}]


def test_rows_without_prototxts_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delenv(caffe.FOLDER, raising=False)
    assert caffe.FOLDER in caffe.missing("some.prototxt")
    monkeypatch.setenv(caffe.FOLDER, str(tmp_path))
    assert "is not in" in caffe.missing("some.prototxt")
    (tmp_path / "some.prototxt").touch()
    assert caffe.missing("some.prototxt") == ""


@pytest.mark.parametrize(
    ("family", "ours", "theirs"),
    [
        ("resnet50", "conv3_block4_2_bn", "bn3d_branch2b"),
        ("resnet101", "conv4_block23_0_conv", "res4b22_branch1"),
        ("resnet101", "conv5_block3_3_conv", "res5c_branch2c"),
        ("resnet152", "conv3_block2_1_bn", "bn3b1_branch2a"),
        ("senet", "conv2_block1_se_down", "conv2_1_1x1_down"),
        ("bn_inception", "inception_3a_double_3x3_2_bn", "inception_3a/double3x3b/bn"),
    ],
)
def test_names(family: str, ours: str, theirs: str) -> None:
    assert caffe.NAMES[family]([ours]) == {ours: theirs}
