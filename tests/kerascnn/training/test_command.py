"""`python -m kerascnn train` says what it did, what it cannot do, and what to do next."""

from __future__ import annotations

import json
import sys

import pytest

from kerascnn import cli


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kerascnn", "train", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def test_a_run_from_the_command_line(call, digits, tmp_path):
    arguments = ("--model", "lenet5", "--data", digits, "--recipe", "onecycle_mnist", "--epochs", 2, "--batch", 16)
    code, out, err = call(*arguments, "--output", "run")
    assert code == 0, err
    assert "epoch   2" in err
    assert "python -m export --model run/lenet5.kdc" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"checkpoint.npz", "history.csv", "lenet5.kdc"}
    manifest = json.loads((tmp_path / "run" / "training.json").read_text())
    assert manifest["epochs"] == 2
    assert manifest["recipe"]["batch"] == 16
    assert manifest["command"].startswith("python -m kerascnn train --model lenet5")
    assert f"{manifest['accuracy']:.2%} of 40 validation images" in out

    code, _, err = call(*arguments, "--rate", 0.5, "--output", "run")
    assert code == 2
    assert "is of another run: recipe's rate was 0.1 and is now 0.5" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--model is missing"),
        (("--model", "lenet6", "--data", "x", "--output", "y"), "The nearest names are: lenet5"),
        (("--model", "lenet5", "--data", "nowhere", "--output", "y"), "There is no nowhere"),
        (("--model", "lenet5", "--data", ".", "--output", "y", "--recipe", "one"), "no recipe named 'one'"),
        (("--model", "lenet5", "--data", ".", "--output", "y", "--recipe", "alexnet_"), "The nearest are: alexnet"),
        (("--model", "lenet5", "--data", ".", "--output", "y", "--max-time", "soon"), "--max-time is a time such as"),
        (("--model", "resnet50", "--data", ".", "--output", "y", "--recipe", "resnet_cifar"), "for images of 32x32"),
        (("--model", "lenet5", "--data", ".", "--output", "y"), "holds no images"),
        (("--model", "lenet5", "--data", ".", "--output", "y", "--weights", "imagenet"), "no weights named 'imagenet'"),
        (("--model", "lenet5", "--data", ".", "--output", "y", "--weights", "x.kdc"), "no weights file x.kdc"),
    ],
)
def test_what_cannot_be_done(call, arguments, message, tmp_path):
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "y").exists()


def test_the_recipes_are_listed(call):
    code, out, _ = call("--list")
    assert code == 0
    assert "resnet_cifar" in out
    assert "rate 0.1 (step)" in out
