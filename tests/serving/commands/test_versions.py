"""`promote` and `rollback`: whole versions only, labels that a server can follow, and a way back."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving.artifacts import find_models, read_model
from serving.commands import versions
from serving.configuration.tfs import messages, model_config
from serving.errors import RequestError, ServingError
from serving.operations import adding
from serving.operations.folders import digest
from tests.serving.exported import put_model, write_config


class Killed(BaseException):
    """What nothing catches."""


def served(config: Path, name: str = "colours") -> tuple[list[int], dict[str, int]]:
    """The versions that are loaded, and the labels."""
    path = config / "tfs/models.config"
    message = messages.parse(path.read_text(), "ModelServerConfig", str(path))
    entry = next(row for row in message.model_config_list.config if row.name == name)
    return list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


def run(command, *arguments: object) -> str:
    """What a command prints; errors are raised as they are."""
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Models that cannot be loaded, with the versions 1, 2 and 3, and a configuration that serves version 3."""
    models = tmp_path / "artifacts"
    put_model(models, "colours", versions=(1, 2, 3))
    put_model(models, "other")
    write_config(models, tmp_path / "deploy")
    return models, tmp_path / "deploy"


@pytest.fixture
def real(exported_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model that can be loaded, in version 1, and its configuration."""
    models = tmp_path / "artifacts"
    shutil.copytree(exported_folder, models)
    write_config(models, tmp_path / "deploy")
    return models, tmp_path / "deploy"


class TestLabels:
    """A server moves a label that is in use only to a version that it has loaded."""

    def test_the_configuration_says_where_the_models_are(self, folders):
        """So that --models need not be given again; a folder that is given counts more."""
        models, config = folders
        (config / ".env").write_text("MODELS_FOLDER=../artifacts\n")
        run(versions.promote, "colours", "--config", config, "--label", "canary", "--version", 2)
        assert served(config) == ([2, 3], {"stable": 3, "canary": 2})
        run(versions.rollback, "colours", "--config", config, "--label", "canary")
        with pytest.raises(RequestError, match="There is no model"):
            run(versions.rollback, "colours", "--config", config, "--models", models / "colours")

    def test_canary_first_then_stable_then_back(self, folders):
        models, config = folders
        where = ("--models", models, "--config", config)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 2)
        assert served(config) == ([2, 3], {"stable": 3, "canary": 2})
        printed = run(versions.promote, "colours", *where)
        assert served(config) == ([2, 3], {"stable": 2}), "the version before has to stay loaded for the way back"
        assert "stable names version 2, before version 3" in printed
        run(versions.rollback, "colours", *where)
        assert served(config) == ([3], {"stable": 3})

    def test_a_label_in_use_does_not_move_to_a_version_that_is_not_loaded(self, folders):
        models, config = folders
        before = (config / "tfs/models.config").read_bytes()
        with pytest.raises(RequestError, match="not loaded"):
            run(versions.promote, "colours", "--models", models, "--config", config, "--version", 1)
        assert (config / "tfs/models.config").read_bytes() == before

    def test_a_canary_can_be_taken_back(self, folders):
        models, config = folders
        where = ("--models", models, "--config", config)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 1)
        assert "is gone" in run(versions.rollback, "colours", *where, "--label", "canary")
        assert served(config) == ([3], {"stable": 3})

    def test_the_other_models_stay_as_they_are(self, folders):
        models, config = folders
        before = served(config, "other")
        run(versions.promote, "colours", "--models", models, "--config", config, "--label", "canary", "--version", 1)
        assert served(config, "other") == before

    def test_writing_the_configuration_again_keeps_them(self, folders):
        """`init` after `promote`."""
        models, config = folders
        run(versions.promote, "colours", "--models", models, "--config", config, "--label", "canary", "--version", 1)
        path = config / "tfs/models.config"
        existing = messages.parse(path.read_text(), "ModelServerConfig", str(path))
        path.write_text(model_config.to_text(model_config.build(find_models(models), existing)))
        assert served(config) == ([1, 3], {"stable": 3, "canary": 1})

    def test_back_twice(self, folders):
        models, config = folders
        where = ("--models", models, "--config", config)
        for version in (2, 1):
            run(versions.promote, "colours", *where, "--label", "canary", "--version", version)
            run(versions.promote, "colours", *where)
        assert served(config) == ([1, 2], {"stable": 1})
        run(versions.rollback, "colours", *where)
        assert served(config) == ([2, 3], {"stable": 2}), "what a further step leads back to has to be loaded"
        run(versions.rollback, "colours", *where)
        assert served(config) == ([3], {"stable": 3})

    def test_not_back_to_a_version_that_is_gone(self, folders):
        models, config = folders
        where = ("--models", models, "--config", config)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 2)
        run(versions.promote, "colours", *where)
        shutil.rmtree(models / "colours/saved_model/3")
        with pytest.raises(RequestError, match="is gone or not loaded"):
            run(versions.rollback, "colours", *where)

    def test_without_a_step_before_there_is_no_way_back(self, folders):
        models, config = folders
        with pytest.raises(RequestError, match="no way back"):
            run(versions.rollback, "colours", "--models", models, "--config", config)

    @pytest.mark.parametrize("after", ["the history", "nothing"])
    def test_a_run_that_was_killed_leaves_the_old_configuration(self, folders, monkeypatch, after):
        models, config = folders
        where = ("--models", models, "--config", config)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 2)
        before = served(config)
        replace, count = os.replace, iter([after == "the history"])

        def dies(source, target):
            if not next(count, False):
                raise Killed
            replace(source, target)

        monkeypatch.setattr(os, "replace", dies)
        with pytest.raises(Killed):
            run(versions.promote, "colours", *where)
        monkeypatch.undo()
        assert served(config) == before
        assert [path.name for path in (config / "tfs").iterdir()] == ["models.config"]
        with pytest.raises(RequestError, match="no way back"):  # and not a step back to where it is already
            run(versions.rollback, "colours", *where)
        run(versions.promote, "colours", *where)
        run(versions.rollback, "colours", *where)
        assert served(config)[1]["stable"] == 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("colours", "--label", "canary", "--version", "7"), "no version 7"),
            (("colours",), "No version of colours has the label canary"),
            (("colours", "--version", "3"), "names version 3 already"),
            (("colour", "--version", "3"), "no model 'colour'"),
            (("../colours", "--version", "3"), "cannot be served as"),
        ],
    )
    def test_wrong_requests(self, folders, arguments, message):
        models, config = folders
        with pytest.raises(RequestError, match=message):
            run(versions.promote, *arguments, "--models", models, "--config", config)

    def test_a_model_that_is_not_in_the_configuration(self, folders):
        models, config = folders
        put_model(models, "new")
        with pytest.raises(RequestError, match="does not list new"):
            run(versions.promote, "new", "--models", models, "--config", config, "--version", 1)


class TestServer:
    """With --server, a label moves only when that server has the version ready."""

    @pytest.fixture
    def answers(self) -> Iterator[tuple[str, dict[str, object]]]:
        """A server that says of every version what the dictionary holds under its path."""
        replies: dict[str, object] = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                state = replies.get(self.path)
                self.send_response(200 if state else 404)
                self.end_headers()
                self.wfile.write(json.dumps({"model_version_status": [{"state": state}]}).encode())

            def log_message(self, *arguments):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}", replies
            server.shutdown()

    def test_it_is_asked(self, folders, answers):
        models, config = folders
        url, replies = answers
        where = ("--models", models, "--config", config, "--server", url)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 2)
        for state in (None, "LOADING"):
            replies["/v1/models/colours/versions/2"] = state
            with pytest.raises(ServingError, match="not ready"):
                run(versions.promote, "colours", *where)
            assert served(config)[1] == {"stable": 3, "canary": 2}
        replies["/v1/models/colours/versions/2"] = "AVAILABLE"
        run(versions.promote, "colours", *where)
        assert served(config)[1] == {"stable": 2}

    def test_one_that_does_not_answer(self, folders):
        models, config = folders
        where = ("--models", models, "--config", config)
        run(versions.promote, "colours", *where, "--label", "canary", "--version", 2)
        with pytest.raises(ServingError, match="does not answer"):
            run(versions.promote, "colours", *where, "--server", "http://127.0.0.1:9")


class TestAdding:
    """A version appears whole and works, or does not appear."""

    def test_a_new_version_is_canary(self, real, exported_folder):
        models, config = real
        source = exported_folder / "colours"
        run(versions.promote, "colours", "--models", models, "--config", config, "--from", source)
        base_path = models / "colours/saved_model"
        assert served(config) == ([1, 2], {"stable": 1, "canary": 2})
        assert digest(base_path / "2") == digest(base_path / "1")
        model = read_model("colours", base_path)
        assert model.versions == (1, 2)
        assert model.manifest == json.loads((source / "manifest.json").read_text())
        assert sorted(path.name for path in base_path.iterdir() if path.is_dir()) == ["1", "2"]
        with pytest.raises(RequestError, match="canary names version 2"):  # one at a time, and nothing copied
            run(versions.promote, "colours", "--models", models, "--config", config, "--from", source)
        assert not (base_path / "3").exists()

    def test_a_number_is_never_used_again(self, real, exported_folder, monkeypatch):
        """A server that failed to load a version does not look at its number again, whatever is there."""
        base_path = real[0] / "colours/saved_model"
        model = read_model("colours", base_path)
        assert adding.add_version(model, exported_folder / "colours") == 2
        shutil.rmtree(base_path / "2")
        monkeypatch.setattr(adding, "_check_version", lambda folder: None)  # it passed just now
        assert adding.add_version(model, exported_folder / "colours") == 3
        (base_path / "5").write_text("a server takes this for version 5")
        assert adding.add_version(model, exported_folder / "colours") == 6

    def test_one_that_does_not_load_is_refused(self, real, exported_folder, tmp_path):
        models, config = real
        source = tmp_path / "candidates/colours"
        shutil.copytree(exported_folder / "colours", source)
        (source / "saved_model/1/variables/variables.data-00000-of-00001").unlink()
        with pytest.raises(ServingError, match="does not load"):
            run(versions.promote, "colours", "--models", models, "--config", config, "--from", source)
        assert served(config) == ([1], {"stable": 1})
        assert not list((models / "colours/saved_model").glob("*2*"))

    def test_one_whose_warm_up_fails_is_refused(self, real, exported_folder, tmp_path):
        models, _ = real
        source = tmp_path / "candidates/colours"
        shutil.copytree(exported_folder / "colours", source)
        warmup = source / "saved_model/1/assets.extra/tf_serving_warmup_requests"
        warmup.write_bytes(warmup.read_bytes()[:-100])
        with pytest.raises(ServingError, match="warm-up"):
            run(versions.promote, "colours", "--models", models, "--from", source)
        assert not (models / "colours/saved_model/2").exists()

    def test_a_full_disk_leaves_nothing(self, real, exported_folder, monkeypatch):
        models, config = real
        from serving.operations import adding

        def full(source, target):
            target.mkdir()
            (target / "saved_model.pb").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(adding.shutil, "copytree", full)
        with pytest.raises(ServingError, match="No space left"):
            run(versions.promote, "colours", "--models", models, "--from", exported_folder / "colours")
        assert sorted(path.name for path in (models / "colours/saved_model").iterdir()) == ["1"]
        assert served(config) == ([1], {"stable": 1})

    def test_what_a_killed_run_left_is_removed(self, real, exported_folder):
        models, _ = real
        left = models / "colours/saved_model/.2.partial-99999"
        left.mkdir()
        run(versions.promote, "colours", "--models", models, "--from", exported_folder / "colours")
        assert not left.exists()
        assert (models / "colours/saved_model/2/saved_model.pb").is_file()

    def test_other_labels_are_warned_of(self, real, exported_folder, tmp_path):
        models, _ = real
        source = tmp_path / "candidates/colours"
        shutil.copytree(exported_folder / "colours", source)
        path = source / "saved_model/1/assets.extra/labels.txt"
        path.write_text(path.read_text().replace("red", "rouge"))
        assert "other labels" in run(versions.promote, "colours", "--models", models, "--from", source)

    def test_half_precision_goes_to_the_model_in_half_precision(self, real, tmp_path):
        """An export that holds both gives each model the one of its precision."""
        models, _ = real
        base_path = models / "colours/saved_model"
        shutil.copytree(base_path, models / "colours/saved_model_float16")
        run(versions.promote, "colours_float16", "--models", models, "--from", models / "colours")
        assert (models / "colours/saved_model_float16/2/saved_model.pb").is_file()
        assert not (base_path / "2").exists()
        shutil.rmtree(models / "colours/saved_model_float16/2")
        with pytest.raises(RequestError, match="saved_model_float16/1"):
            run(versions.promote, "colours_float16", "--models", models, "--from", put_model(tmp_path, "other").parent)

    def test_without_a_saved_model(self, real, tmp_path):
        models, _ = real
        with pytest.raises(RequestError, match="no SavedModel"):
            run(versions.promote, "colours", "--models", models, "--from", tmp_path)
