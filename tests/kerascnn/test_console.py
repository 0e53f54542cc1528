"""What the three command lines share."""

from __future__ import annotations

import click
import pytest

from kerascnn.console import run_command


def test_a_backend_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def command() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as ended:
        run_command(command, refusals=(ValueError,), failures=(ImportError,))
    assert ended.value.code == 2
    assert "Keras runs on torch here (KERAS_BACKEND" in capsys.readouterr().err
