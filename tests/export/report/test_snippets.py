"""The code of the report: it runs, and names what the artifact has."""

from pathlib import Path

import keras
import numpy as np
import pytest

import export
from export.report.snippets import LANGUAGES, snippets

LABELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name="small")
    photos = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    folder = tmp_path_factory.mktemp("artifacts") / "small"
    precisions = ("int8", "int8-io")
    manifest = export.export(model, folder, precisions=precisions, calibration=photos, labels=LABELS)
    return model, folder, manifest


def codes(manifest) -> dict[str, dict[str, str]]:
    return {snippet.path: dict(snippet.codes) for snippet in snippets(manifest).snippets}


def test_python_runs_and_gives_the_networks_answer(exported, monkeypatch, capsys):
    """Every artifact's code, in the folder of the export, on an image of zeros, as it is written."""
    model, folder, manifest = exported
    wanted = np.asarray(model(np.zeros((1, 8, 8, 3), "float32")))[0]
    monkeypatch.chdir(folder)
    for path, languages in codes(manifest).items():
        names = {}
        exec(compile(languages["Python"], path, "exec"), names)
        answer = names[manifest["signature"]["output"]["name"]]
        assert np.abs(np.asarray(answer)[0] - wanted).max() < 0.02, path
        assert LABELS[int(wanted.argmax())] in capsys.readouterr().out


def test_every_language_names_what_the_artifact_has(exported):
    _, _, manifest = exported
    for artifact in manifest["artifacts"]:
        languages = codes(manifest)[artifact["path"]]
        assert tuple(languages) == LANGUAGES[artifact["format"]]
        for language, code in languages.items():
            server = artifact["format"] == "saved_model" and language == "JavaScript"
            assert ("/v1/models/small:predict" if server else artifact["path"]) in code
            for scale, zero_point in (artifact.get("steps") or {}).values():
                assert str(scale) in code, language
                assert str(zero_point) in code, language


def test_steps_are_those_of_the_file(exported):
    from ai_edge_litert.interpreter import Interpreter

    _, folder, manifest = exported
    (artifact,) = (one for one in manifest["artifacts"] if one["precision"] == "int8-io")
    interpreter = Interpreter(str(folder / Path(artifact["path"]).name))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert sorted(map(tuple, artifact["steps"].values())) == sorted(one["quantization"] for one in details)
