"""Every variant goes through the whole line in every format and passes (hours of CPU time: -m slow)."""

import keras
import pytest

from export import opening as models
from export.api import run
from export.request import Request
from kerascnn.registry import variants


@pytest.mark.slow
@pytest.mark.parametrize("name", variants())
def test_every_variant_exports(name, tmp_path):
    loaded = models.build(name, weights="none", warn=lambda _: None)
    manifest = run(Request(), loaded, tmp_path / name)
    assert len(manifest["artifacts"]) == 3
    keras.backend.clear_session()
