"""Models that cannot be exported are refused by what they are, before any work starts."""

from pathlib import Path

import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import export  # noqa: E402
from export.errors import RequestError  # noqa: E402
from export.opening import exportable, open_file  # noqa: E402
from export.request import Request  # noqa: E402
from kerascnn import applications  # noqa: E402


class OfOnesOwn(keras.Model):
    def call(self, inputs):
        return inputs


def dense(x):
    return keras.layers.Dense(2)(keras.layers.Flatten()(x))


def two_inputs():
    images = [keras.Input((4, 4, 3), name=name) for name in "ab"]
    return keras.Model(images, dense(keras.layers.Add()(images)))


def model(shape, outputs=lambda y: y):
    image = keras.Input(shape)
    return keras.Model(image, outputs(dense(keras.layers.Activation("relu")(image))))


REFUSED = {
    "two inputs": (two_inputs, "2 input"),
    "two outputs": (lambda: model((4, 4, 3), lambda y: [y, keras.layers.Activation("relu")(y)]), "2 output"),
    "a dictionary": (lambda: model((4, 4, 3), lambda y: {"scores": y}), "by name"),
    "a vector": (lambda: model((4,)), r"shape \(4,\)"),
    "a sequence": (lambda: model((4, 3)), r"shape \(4, 3\)"),
    "open sides": (lambda: applications.squeezenet_cifar(input_shape=(None, None, 3)), "fixed"),
    "a class of one's own": (OfOnesOwn, "A OfOnesOwn cannot"),
    "a path": (lambda: "mine.keras", "A str cannot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused(name: str, tmp_path: Path) -> None:
    make, says = REFUSED[name]
    with pytest.raises(RequestError, match=says):
        export.export(make(), tmp_path / "out", formats=["tflite"])
    assert not list(tmp_path.iterdir())


def test_a_file_with_two_inputs_is_refused(tmp_path: Path) -> None:
    two_inputs().save(tmp_path / "two.keras")
    with pytest.raises(RequestError, match="2 input"):
        open_file(tmp_path / "two.keras")


def test_auxiliary_classifiers_are_left_behind() -> None:
    network = applications.googlenet(aux_logits=True, input_shape=(96, 96, 3), classes=3)
    assert exportable(network).outputs == [network.predictions]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(RequestError, match="no format 'coreml'. Choose from saved_model, tflite, onnx"):
        Request(formats=["coreml"])
