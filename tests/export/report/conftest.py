"""An export that the tests of the card and of the bill of materials read."""

import json

import numpy as np
import pytest
from PIL import Image

import export
from kerascnn import create_model


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """LeNet-5 with the weights in the package, scored on ten pictures."""
    photos = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for label in range(10):
        (photos / str(label)).mkdir()
        Image.fromarray(random.integers(0, 255, (32, 32), np.uint8)).save(photos / str(label) / "0.png")
    folder = tmp_path_factory.mktemp("card") / "net"
    model = create_model("lenet5", weights="mnist")
    manifest = export.export(model, folder, formats=["tflite"], precisions=["dynamic"], evaluate=photos)
    return folder, json.loads(json.dumps(manifest, default=list))
