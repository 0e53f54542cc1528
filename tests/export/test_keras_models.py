"""Models that cannot be exported are refused by what they are, before any work starts."""

from pathlib import Path

import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import export  # noqa: E402
from export.errors import RequestError  # noqa: E402
from export.keras_models import exportable  # noqa: E402
from export.request import Request  # noqa: E402
from kerascnn import applications  # noqa: E402


class OfOnesOwn(keras.Model):
    def call(self, inputs):
        return inputs


REFUSED = {
    "open sides": (lambda: applications.squeezenet_cifar(input_shape=(None, None, 3)), "--input-size HxW"),
    "a class of one's own": (OfOnesOwn, "A OfOnesOwn cannot"),
    "a path": (lambda: "mine.keras", "a str was given"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused(name: str, tmp_path: Path) -> None:
    make, says = REFUSED[name]
    with pytest.raises(RequestError, match=says):
        export.export(make(), tmp_path / "out", formats=["tflite"])
    assert not list(tmp_path.iterdir())


def test_auxiliary_classifiers_are_left_behind() -> None:
    network = applications.googlenet(aux_logits=True, input_shape=(96, 96, 3), classes=3)
    assert exportable(network).outputs == [network.predictions]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(RequestError, match="no format 'coreml'. Choose from saved_model, tflite, onnx"):
        Request(formats=["coreml"])
