"""Which folders are models, and which are not."""

import pytest

from serving.artifacts import find_models
from serving.errors import RequestError


def version(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()


def test_both_layouts_and_nothing_else(tmp_path):
    for path in ("b/saved_model/1", "b/saved_model/12", "a/3", "c/saved_model_untrained/1", ".hidden/1", "d/v1"):
        version(tmp_path / path)
    (tmp_path / "b/saved_model/2").mkdir()
    assert [(model.name, model.versions) for model in find_models(tmp_path)] == [
        ("a", (3,)),
        ("b", (1, 12)),
        ("c", (1,)),
    ]


def test_half_precision_is_a_model_of_its_own(tmp_path):
    for path in ("a/saved_model/1", "a/saved_model_float16/1", "b/saved_model_bfloat16_untrained/1", "c/3"):
        version(tmp_path / path)
    found = {model.name: model.base_path.relative_to(tmp_path).as_posix() for model in find_models(tmp_path)}
    assert found == {
        "a": "a/saved_model",
        "a_float16": "a/saved_model_float16",
        "b_bfloat16": "b/saved_model_bfloat16_untrained",
        "c": "c",
    }


def test_the_folder_of_one_model_is_not_served_as_saved_model(tmp_path):
    version(tmp_path / "squeezenet/saved_model/1")
    with pytest.raises(RequestError, match="is one model; give the folder above it"):
        find_models(tmp_path / "squeezenet")


def test_a_name_that_no_url_can_hold(tmp_path):
    version(tmp_path / "my net/1")
    with pytest.raises(RequestError, match="Rename its folder"):
        find_models(tmp_path)
