"""A page and an app are refused for networks that do not classify photos."""

import keras
import pytest

import export
from export import RequestError


@pytest.mark.parametrize("options", [{"web": True}, {"apps": ["ios"]}], ids=["web", "app"])
@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((12, 12, 3), "How photos are prepared for net is not known, so {made} could not do it"),
        ((12, 12, 4), "{option} makes {made} that classifies photos, and net is not for that.* Leave {option} out"),
    ],
)
def test_networks_that_do_not_suit_are_refused(options, shape, says, tmp_path):
    image = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(image))
    network = keras.Model(image, keras.layers.Dense(3)(x), name="net")
    option, made = ("--web", "a page") if "web" in options else ("--app", "an app")
    with pytest.raises(RequestError, match=says.format(option=option, made=made)):
        export.export(network, tmp_path / "net", formats=["tflite"], **options)
    assert not (tmp_path / "net").exists()
