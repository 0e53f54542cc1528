"""An untrained network must still tell a sound artifact from a broken one."""

import keras
import numpy as np
import pytest

from export import opening as models
from export.checking.parity import synthetic_images
from kerascnn import applications


def sensitivity(model, images):
    """How much the answer changes when the input does, both relative."""
    inner = keras.Model(model.input, model.get_layer("avg_pool").output)
    found, moved = np.asarray(inner(images)), np.asarray(inner(images * 1.00001))
    return np.abs(found - moved).max() / np.abs(found).max() / 0.00001


@pytest.mark.slow
def test_gates_do_not_turn_rounding_into_another_answer():
    options = {"input_size": (48, 48), "weights": "none"}
    model = models.build("seresnet101", warn=lambda _: None, **options).model
    images = synthetic_images(model.inputs[0].shape, 2, low=-2.1, high=2.6)
    assert sensitivity(model, images) < 10
    keras.utils.set_random_seed(0)
    assert sensitivity(applications.seresnet101(input_shape=(48, 48, 3)), images) > 100
    keras.backend.clear_session()
