"""`python -m serving init`: one command, a complete folder; never half of one, never over a reader's changes."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import serving
from serving import findings
from serving.artifacts import find_models
from serving.cli import COMMANDS
from serving.commands import init
from serving.configuration import publishing, writing
from serving.configuration.checking import validate
from serving.configuration.tfs import messages
from serving.errors import RequestError, ServingError
from tests.serving.exported import put_model


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, below the working folder as in the README."""
    monkeypatch.chdir(tmp_path)
    folder = Path("artifacts")
    put_model(folder, "squeezenet", side=227)
    put_model(folder, "resnet20_cifar", side=32)
    return folder


def run(*arguments: str) -> str:
    """What the command prints; errors are raised as they are."""
    result = CliRunner().invoke(init.command, arguments, catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_model_config(path: Path):
    """The model config in a file."""
    return messages.parse(path.read_text(), "ModelServerConfig", str(path))


@pytest.mark.usefixtures("artifacts")
class TestOneCommand:
    """The command of the README writes a folder that passes every check and says how to start it."""

    def test_folder_passes_every_check(self) -> None:
        printed = run("--gpu")
        assert not validate(Path("deploy"), find_models(Path("artifacts")))
        assert "docker compose -f compose.yaml -f compose.gpu.yaml up -d" in printed

    def test_without_gpu_there_is_nothing_of_a_gpu(self) -> None:
        run()
        assert not validate(Path("deploy"), find_models(Path("artifacts")))
        assert not [path for path in contents(Path("deploy")) if "gpu" in path or "session" in path]
        compose = Path("deploy/compose.yaml").read_text()
        assert "nvidia" not in compose
        assert "gpu" not in compose.lower()

    def test_holds_no_path_of_this_machine(self, tmp_path: Path) -> None:
        run("--gpu")
        for path, content in contents(Path("deploy")).items():
            assert str(tmp_path).encode() not in content, path
        assert 'MODELS_FOLDER="../artifacts"' in Path("deploy/.env").read_text()

    def test_models_from_elsewhere_are_asked_for(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        put_model(elsewhere, "vgg16")
        printed = run("--models", str(elsewhere))
        assert "set MODELS_FOLDER in deploy/.env" in printed
        assert 'MODELS_FOLDER=""' in Path("deploy/.env").read_text()

    def test_only_serves_what_it_names(self) -> None:
        run("--only", "squeezenet")
        config = read_model_config(Path("deploy/tfs/models.config"))
        assert [model.name for model in config.model_config_list.config] == ["squeezenet"]
        assert "resnet20_cifar" not in Path("deploy/compose.yaml").read_text()
        with pytest.raises(RequestError, match="no model 'vgg16' to serve; there are resnet20_cifar, squeezenet"):
            run("--only", "vgg16")

    def test_secrets_are_for_their_owner_alone_and_out_of_git(self) -> None:
        run()
        ignored = Path("deploy/.gitignore").read_text()
        for name in (".env", "proxy/api-keys.conf"):
            assert stat.S_IMODE(Path("deploy", name).stat().st_mode) == 0o600
            assert f"/{name}" in ignored

    def test_two_folders_have_two_keys(self) -> None:
        """A key that is the same everywhere is no key."""
        run("--output", "one")
        run("--output", "two")
        for name in (".env", "proxy/api-keys.conf"):
            assert Path("one", name).read_text() != Path("two", name).read_text()


@pytest.mark.usefixtures("artifacts")
class TestSecondRun:
    """Writing again takes over what is new and keeps what is the reader's."""

    def test_changes_nothing_without_a_reason(self) -> None:
        run("--gpu")
        before = contents(Path("deploy"))
        assert "Kept as they are: .env, proxy/api-keys.conf" in run("--gpu")
        assert contents(Path("deploy")) == before

    def test_refuses_files_changed_by_hand_and_names_them(self) -> None:
        run()
        compose, alerts = Path("deploy/compose.yaml"), Path("deploy/prometheus/alerts.yml")
        compose.write_text(compose.read_text() + "# mine\n")
        alerts.write_text("groups: []\n")
        before = contents(Path("deploy"))
        with pytest.raises(RequestError, match=r"changed by hand.*: compose\.yaml, prometheus/alerts\.yml\..*--force"):
            run("--gpu")
        assert contents(Path("deploy")) == before

    def test_force_writes_over_changes_but_not_over_keys(self) -> None:
        run()
        Path("deploy/compose.yaml").write_text("mine")
        Path("deploy/proxy/api-keys.conf").write_text('"mine" "me";')
        run("--force")
        assert "tensorflow/serving" in Path("deploy/compose.yaml").read_text()
        assert Path("deploy/proxy/api-keys.conf").read_text() == '"mine" "me";'

    def test_foreign_files_stay(self) -> None:
        run()
        Path("deploy/proxy/certificates").mkdir()
        Path("deploy/proxy/certificates/tls.key").write_text("secret")
        run("--gpu", "--force")
        assert Path("deploy/proxy/certificates/tls.key").read_text() == "secret"

    def test_keeps_versions_and_labels_and_adds_new_models(self) -> None:
        """What `promote` has set survives a second init."""
        put_model(Path("artifacts"), "vgg16", versions=(1, 2))
        run("--only", "vgg16")
        path = Path("deploy/tfs/models.config")
        config = read_model_config(path)
        served = config.model_config_list.config[0]
        assert served.version_labels == {"stable": 2}
        served.model_version_policy.specific.versions[:] = [1, 2]
        served.version_labels["stable"], served.version_labels["canary"] = 1, 2
        path.write_text(messages.to_text(config))
        run()
        models = {model.name: model for model in read_model_config(path).model_config_list.config}
        assert models["vgg16"].version_labels == {"stable": 1, "canary": 2}
        assert list(models["vgg16"].model_version_policy.specific.versions) == [1, 2]
        assert models["squeezenet"].version_labels == {"stable": 1}
        assert not findings.errors(validate(Path("deploy"), find_models(Path("artifacts"))))

    def test_forgets_labels_of_versions_that_are_gone(self) -> None:
        run()
        path = Path("deploy/tfs/models.config")
        config = read_model_config(path)
        config.model_config_list.config[0].version_labels["stable"] = 7
        path.write_text(messages.to_text(config))
        run()
        assert read_model_config(path).model_config_list.config[0].version_labels == {"stable": 1}

    def test_unreadable_model_config_is_not_lost(self) -> None:
        run()
        path = Path("deploy/tfs/models.config")
        path.write_text("model_config_list { config { base_paht: '/models' } }")
        with pytest.raises(RequestError, match='no field named "base_paht"'):
            run()
        assert "base_paht" in path.read_text()

    def test_removes_what_it_no_longer_writes(self) -> None:
        run("--gpu")
        printed = run()
        assert "compose.gpu.yaml" in printed
        assert not Path("deploy/compose.gpu.yaml").exists()
        empty = [path for path in Path("deploy").rglob("*") if path.is_dir() and not any(path.iterdir())]
        assert empty == []

    def test_record_cannot_reach_out_of_the_folder(self) -> None:
        """A record that names files elsewhere must not have them removed."""
        run()
        victim = Path("victim")
        victim.write_text("precious")
        record = json.loads(Path("deploy", publishing.RECORD).read_text())
        record["../victim"] = record[str(victim.resolve())] = publishing._checksum("precious")
        Path("deploy", publishing.RECORD).write_text(json.dumps(record))
        run()
        assert victim.read_text() == "precious"


@pytest.mark.usefixtures("artifacts")
class TestFailures:
    """A run that fails leaves the folder as it was."""

    def test_new_folder_is_whole_or_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = []

        def fail_late(path: Path, text: str, *, mode: int) -> None:
            written.append(path)
            if len(written) == 20:
                raise OSError(28, "No space left on device")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        monkeypatch.setattr(publishing, "replace_text", fail_late)
        with pytest.raises(ServingError, match="No space left"):
            run()
        assert sorted(path.name for path in Path().iterdir()) == ["artifacts"]

    def test_killed_run_can_be_run_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of the files new, half old: the next run must not take the new ones for changes by hand."""
        run()
        replace = publishing.replace_text
        written = []

        def stop(path: Path, text: str, *, mode: int) -> None:
            if len(written) == 10:
                raise KeyboardInterrupt
            written.append(path)
            replace(path, text, mode=mode)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(publishing, "replace_text", stop)
            writing.write(find_models(Path("artifacts")), Path("artifacts"), Path("deploy"), gpus=1)
        run("--gpu")
        assert not validate(Path("deploy"), find_models(Path("artifacts")))
        assert not [path for path in contents(Path("deploy")) if "partial" in path]

    def test_output_that_is_a_file(self) -> None:
        Path("deploy").write_text("a file")
        for output in ("deploy", "deploy/below/it"):
            with pytest.raises(RequestError, match="^deploy is a file"):
                run("--output", output)

    def test_exit_code_and_one_paragraph(self) -> None:
        """From the shell: code 2 and a sentence, no traceback."""
        done = subprocess.run(
            [sys.executable, "-m", "serving", "init", "--models", "nowhere"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert done.returncode == 2
        assert done.stderr.startswith("Error: nowhere is not a folder.")
        assert "Traceback" not in done.stderr


class TestReadme:
    """serving/README.md speaks of commands and files that exist."""

    TEXT = (Path(serving.__file__).parent / "README.md").read_text(encoding="utf-8")

    def test_commands(self) -> None:
        named = set(re.findall(r"python -m serving (\w+)", self.TEXT))
        assert {"init", "doctor"} <= named <= set(COMMANDS)

    @pytest.mark.usefixtures("artifacts")
    def test_files(self) -> None:
        run("--gpu")
        named = set(re.findall(r"`((?:tfs|proxy|prometheus|grafana|kubernetes)/[^`* ]*)`", self.TEXT))
        assert len(named) > 8
        for name in named:
            assert Path("deploy", name).exists(), name
        # What the reader is told to put there has the name that nginx reads.
        config = Path("deploy/proxy/nginx.conf").read_text()
        for name in re.findall(r"proxy/(certificates/\S+\.(?:crt|key))", self.TEXT):
            assert name in config
