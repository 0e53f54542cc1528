"""No request takes a server from everybody: what is wrong is refused, and an export that would not is not published."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

import export
from export.formats import signatures
from serving.contract import hostile
from serving.operations import doctor
from tests.serving.small import CLASSES, small_model, small_preprocessing


def outcomes(folder, requests=None) -> list[hostile.Outcome]:
    with hostile.trying(folder, requests) as trial:
        return trial.outcomes()


def save(folder, function, *spec):
    """A SavedModel of one function, which ensures nothing."""
    module = tf.Module()
    module.function = tf.function(function, input_signature=[tf.TensorSpec(*spec)], autograph=False)
    tf.saved_model.save(module, str(folder), signatures=module.function.get_concrete_function())
    return folder


@pytest.fixture
def unguarded(tmp_path):
    """A convolution that takes the rank for granted."""
    kernel = tf.ones((3, 3, 3, 4))
    function = lambda images: {"scores": tf.reduce_mean(tf.nn.conv2d(images, kernel, 1, "SAME"), (1, 2))}  # noqa: E731
    return save(tmp_path / "unguarded/1", function, (None, 8, 8, 3), tf.float32, "images")


def test_an_export_refuses_every_wrong_request(exported_folder):
    found = outcomes(exported_folder / "colours/saved_model/1")
    assert [str(outcome) for outcome in found if outcome.is_bad] == []
    assert {outcome.request.signature for outcome in found} == {"serving_default", "serving_uint8", "serving_bytes"}
    default = [outcome for outcome in found if outcome.request.signature == "serving_default"]
    assert {len(outcome.request.inputs["images"].shape) for outcome in default} == {0, 1, 2, 3, 4, 5}
    assert all("not compatible with expected shape" in outcome.message for outcome in default if "rank" in str(outcome))


def test_a_right_request_is_answered(exported_folder):
    """Otherwise refusing everything would pass."""
    right = hostile.Value(1, (2, 16, 16, 3), (np.float32(0.5).tobytes(),))
    request = hostile.Request("serving_default", "nothing wrong", {"images": right})
    (outcome,) = outcomes(exported_folder / "colours/saved_model/1", [request])
    assert outcome.kind == "answered"
    assert outcome.is_bad


def test_what_ends_the_process_is_found(unguarded):
    *_, last = outcomes(unguarded)
    assert (last.kind, last.is_fatal) == ("ended the process", True)
    assert "rank" in last.request.what
    assert last.message != ""


def test_what_is_answered_as_if_it_were_right_is_found(tmp_path):
    mean = save(tmp_path, lambda x: {"mean": tf.reduce_mean(x, -1)}, (None, 4, 3), tf.float32, "x")
    bad = [outcome for outcome in outcomes(mean) if outcome.is_bad]
    assert {outcome.kind for outcome in bad} == {"answered"}
    assert "an input of the shape [1, 5, 3]" in {outcome.request.what for outcome in bad}


def test_what_never_ends_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(hostile, "REQUEST_SECONDS", 1)
    loop = lambda x: {"y": tf.while_loop(lambda y: True, lambda y: (y + 1,), (x,))[0]}  # noqa: E731
    endless = save(tmp_path, loop, (), tf.float32, "x")
    *_, last = outcomes(endless)
    assert (last.kind, last.is_bad) == ("had no answer", True)


def test_a_folder_that_cannot_be_tried(exported_folder, tmp_path):
    folder = shutil.copytree(exported_folder / "colours/saved_model/1", tmp_path / "1")
    (folder / "variables/variables.index").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be tried"):
        outcomes(folder)


def test_an_export_that_could_be_killed_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures, "default_signature", lambda traced: traced.function)
    with pytest.raises(export.ExportError, match=r"One request could take the server.*ended the process"):
        export.export(
            small_model(),
            tmp_path / "model",
            formats=["saved_model"],
            preprocessing=small_preprocessing(),
            labels=CLASSES,
        )
    assert not (tmp_path / "model").exists()


def test_doctor_finds_it(unguarded):
    _, findings = doctor.examine(unguarded.parents[1])
    (found,) = [finding for finding in findings if "ended the process" in finding.what]
    assert found.severity == "error"
    assert "tf.ensure_shape" in found.mend
