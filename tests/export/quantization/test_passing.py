"""Passing images piece by piece: the same values as from the start, and nothing twice where it can be kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from export.quantization import passing  # noqa: E402
from export.quantization.network import Network  # noqa: E402
from export.quantization.passing import Passage  # noqa: E402
from export.tracing.graph import trace  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(6, 12, 12, 3)).astype(np.float32)  # a batch and a half


@pytest.fixture(scope="module")
def network() -> Network:
    """Branches, a shortcut across them, and a layer that two others follow."""
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    long = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.DepthwiseConv2D(3, padding="same")(x))
    joined = layers.Concatenate()([long, layers.Conv2D(8, 1)(x), layers.Conv2D(4, 3, padding="same")(x)])
    x = layers.Add()([layers.Conv2D(8, 1)(joined), x])
    model = keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    traced = trace(model)
    return Network(traced.frozen, traced.input_name)


@pytest.mark.parametrize("kept_bytes", [0, 6 * 12 * 12 * 16 * 4, passing.KEPT_BYTES])
def test_every_layer_gets_what_it_gets_in_a_run_from_the_start(
    network: Network, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing kept, with the narrow places kept, and with all of them."""
    monkeypatch.setattr(passing, "KEPT_BYTES", kept_bytes)
    changed: dict[str, np.ndarray] = {}
    passage = Passage(network, IMAGES, changed)
    for name, node in network.layers.items():
        found = np.concatenate([value.copy() for value in passage.inputs(node.input[0])])
        np.testing.assert_allclose(found, network.run(IMAGES, node.input[0], changed), rtol=1e-5, atol=1e-6)
        changed[name] = 0.5 * network.values[name]
        if name in network.biases:
            changed[network.biases[name]] = network.values[network.biases[name]] + 0.1


def test_nothing_is_computed_twice_where_it_is_kept(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[set[str]] = []
    runner = Passage._runner

    def noted(passage: Passage, piece: set[str], places: list[str]) -> Any:
        pieces.append(piece & set(passage._nodes) - set(network.values))
        return runner(passage, piece, places)

    monkeypatch.setattr(Passage, "_runner", noted)
    sources = list(dict.fromkeys(node.input[0] for node in network.layers.values()))

    def computed() -> list[str]:
        pieces.clear()
        passage = Passage(network, IMAGES, {})
        for source in sources:
            list(passage.inputs(source))
        operations = {node.name for node in network.frozen.graph_def.node if node.op in ("Conv2D", "Relu", "ConcatV2")}
        return [name for piece in pieces for name in piece & operations]

    once = computed()
    assert len(once) == len(set(once)) > 4
    monkeypatch.setattr(passing, "KEPT_BYTES", 0)
    assert len(computed()) > len(once)
