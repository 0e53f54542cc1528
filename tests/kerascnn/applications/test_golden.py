"""Every variant against what torchvision, timm and pytorchcv answered to the same weights (see tests/parity)."""

from __future__ import annotations

import importlib
from pathlib import Path

import keras
import pytest
from safetensors.numpy import save_file

from kerascnn import create_model, variant, weights
from tests.parity import golden, seeding

FILES = sorted(golden.FOLDER.glob("*.json"))
LARGEST = 26_000_000  # parameters of the networks that the default run takes; the others are slow


def _parameters(path: Path) -> int:
    return variant(golden.read(path)["variant"]).parameters


def _cases() -> list[object]:
    """Every file; of those of a family under one set of names and options, all but the smallest are slow."""
    smallest: dict[tuple[str, ...], Path] = {}
    for path in sorted(FILES, key=_parameters):
        facts = golden.read(path)
        key = (variant(facts["variant"]).family, facts["naming"], str(facts["options"]), str(facts["conv_biases"]))
        smallest.setdefault(key, path)
    quick = {path for path in smallest.values() if _parameters(path) <= LARGEST}
    return [pytest.param(path, id=path.stem, marks=() if path in quick else pytest.mark.slow) for path in FILES]


@pytest.mark.parametrize("path", _cases())
def test_output_is_the_references(path: Path, tmp_path: Path) -> None:
    """A changed stride, padding, pooling, epsilon or layer name, or a wrong mapping or transposition, shows here."""
    facts = golden.read(path)
    side = facts["side"]
    model = create_model(facts["variant"], input_shape=(side, side, 3), classifier_activation=None, **facts["options"])
    mapping = importlib.import_module(f"kerascnn.weights.naming.{variant(facts['variant']).family}")
    names = getattr(mapping, facts["naming"])([layer.name for layer in model.layers if layer.weights])
    shapes = seeding.shapes(model, names, conv_biases=facts["conv_biases"])
    save_file(seeding.state_dict(shapes), tmp_path / "seeded.safetensors")
    loaded = weights.load(model, tmp_path / "seeded.safetensors")
    assert loaded.new_layers == ()
    logits = keras.ops.convert_to_numpy(model(seeding.images(side), training=False))
    assert golden.relative_error(logits[:, :: golden.EVERY], facts["logits"]) <= 1e-4


def test_there_are_golden_files() -> None:
    """An empty folder would pass silently."""
    assert len(FILES) >= 20
