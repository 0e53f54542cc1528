"""An export that the tests of the card and of the bill of materials read."""

import json

import pytest

import export
from kerascnn import create_model
from tests import pictures


def gray(random, label):
    return random.integers(0, 255, (32, 32))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """LeNet-5 with the weights in the package, scored on ten pictures."""
    photos = pictures.write(tmp_path_factory.mktemp("photos"), range(10), 1, gray)
    folder = tmp_path_factory.mktemp("card") / "net"
    model = create_model("lenet5", weights="mnist")
    manifest = export.export(model, folder, formats=["tflite"], precisions=["dynamic"], evaluate=photos)
    return folder, json.loads(json.dumps(manifest, default=list))
