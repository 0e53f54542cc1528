"""Every variant goes through the whole line in every format and passes (hours of CPU time: -m slow)."""

import keras
import pytest

from export import opening as models
from export import stages as pipeline
from export.request import make_plan
from kerascnn.registry import variants


@pytest.mark.slow
@pytest.mark.parametrize("name", variants())
def test_every_variant_exports(name, tmp_path):
    loaded = models.build(name, weights="none", warn=lambda _: None)
    manifest = pipeline.run(loaded, tmp_path / name, make_plan(["saved_model", "tflite", "onnx"]))
    assert len(manifest["artifacts"]) == 3
    keras.backend.clear_session()
