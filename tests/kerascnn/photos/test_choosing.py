"""How a command line says the way photos are prepared."""

import json

import click
import pytest
from click.testing import CliRunner

from kerascnn.photos.choosing import PreprocessingChoice, preprocessing_options
from kerascnn.photos.preprocessing import Preprocessing

SHAPE = (96, 96, 3)
KNOWN = Preprocessing(108, (96, 96), mean=(127.5,), std=(127.5,))


def parsed(*arguments: str) -> PreprocessingChoice:
    found = []

    @click.command()
    @preprocessing_options
    def command(preprocessing: PreprocessingChoice) -> None:
        found.append(preprocessing)

    result = CliRunner().invoke(command, arguments)
    if result.exit_code:
        raise ValueError(result.output)
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), KNOWN),
        (("--channels", "bgr"), Preprocessing(108, (96, 96), channel_order="bgr", mean=(127.5,), std=(127.5,))),
        (("--resize", "whole"), Preprocessing((96, 96), mean=(127.5,), std=(127.5,))),
        (("--resize", "short:100"), Preprocessing(100, (96, 96), mean=(127.5,), std=(127.5,))),
        (("--resize", "100x120"), Preprocessing((100, 120), (96, 96), mean=(127.5,), std=(127.5,))),
        (("--mean", "1,2,3", "--std", "4"), Preprocessing(108, (96, 96), mean=(1.0, 2.0, 3.0), std=(4.0,))),
        (("--preprocessing", "caffe", "--mean", "0"), Preprocessing((96, 96), channel_order="bgr")),
        (
            ("--preprocessing", "resnet20_cifar/cifar10", "--resize", "whole", "--interpolation", "bicubic"),
            Preprocessing((96, 96), None, "bicubic", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        ),
    ],
)
def test_what_is_said_replaces_what_is_known(arguments, wanted):
    assert parsed(*arguments).resolve(SHAPE, KNOWN) == wanted


def test_nothing_known_and_nothing_said():
    assert not parsed().given
    assert parsed().resolve(SHAPE, None) is None
    assert parsed("--std", "255").resolve(SHAPE, None) == Preprocessing((96, 96), std=(255.0,))


def test_a_file_is_its_fields_or_a_manifest(tmp_path):
    fields = {"resize": 108, "crop": [96, 96], "mean": [127.5], "std": [127.5]}
    for content in (fields, {"preprocessing": {**fields, "included": False}, "model": {}}):
        (tmp_path / "own.json").write_text(json.dumps(content))
        assert parsed("--preprocessing", str(tmp_path / "own.json")).resolve(SHAPE, None) == KNOWN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resize", "large"), "--resize is whole"),
        (("--resize", "short:1x2"), "--resize is whole"),
        (("--crop", "0"), "--crop is one number"),
        (("--mean", "a"), "--mean is one number"),
        (("--std", "1,0,1"), "none may be 0"),
        (("--mean", "1,2"), "2 means for 3 channels"),
        (("--crop", "64"), "images of 64x64, the network takes 96x96"),
        (("--resize", "short:96", "--crop", "none"), "a shorter side of 96 and no crop"),
        (("--preprocessing", "imagenet"), "There is no preprocessing 'imagenet'. Take a normalization"),
        (("--preprocessing", "none.json"), "none.json cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parsed(*arguments).resolve(SHAPE, KNOWN)


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"size": 3}', '{"crop": 5}', '{"std": [0]}', '{"channel_order": "x"}']
)
def test_files_that_hold_none(tmp_path, content):
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(ValueError, match="own.json is not"):
        parsed("--preprocessing", str(tmp_path / "own.json")).resolve(SHAPE, None)


def test_words():
    assert KNOWN.words == "shorter side to 108, center 96x96, RGB, minus 127.5, divided by 127.5"
    assert Preprocessing((96, 96), channel_order="gray").words == "whole photo to 96x96, gray"


def test_another_size_than_the_weights_is_said():
    said = parsed("--preprocessing", "squeezenet/imagenet").scaled(SHAPE)
    assert "center 227x227" in said
    assert "shorter side to 108, center 96x96" in said or "whole photo to 108x108, center 96x96" in said
    assert parsed("--preprocessing", "squeezenet/imagenet", "--resize", "whole").scaled(SHAPE) == ""
    assert parsed("--preprocessing", "squeezenet/imagenet").scaled((227, 227, 3)) == ""
    assert parsed("--preprocessing", "torch").scaled(SHAPE) == ""
