"""`python -m export verify`, as a user meets it: what is whole passes, and every planted fault is named."""

import json
import shutil

import keras
import pytest

import export
from export import cli
from tests.processes import in_process


def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name="net")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An export with a file, a folder and labels."""
    folder = tmp_path_factory.mktemp("whole") / "net"
    export.export(network(), folder, formats=["saved_model", "tflite"], labels=["red", "green", "blue"])
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "net")


@pytest.fixture
def call(capsys):
    def invoke(*arguments):
        return in_process(cli.main, "export", "verify", *arguments), capsys.readouterr()

    return invoke


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_export_passes(call, folder):
    code, printed = call(folder)
    assert code == 0
    assert all(name in printed.out for name in ("saved_model/1", "net.tflite", "labels.txt", "report.md"))
    code, printed = call(folder, "--json")
    assert code == 0
    files = json.loads(printed.out)["files"]
    assert {row["state"] for row in files} == {"same"}
    assert "saved_model/1/saved_model.pb" not in [row["path"] for row in files]


FAULTS = {
    "net.tflite: SHA-256": lambda folder: flip(folder / "net.tflite"),
    "labels.txt: SHA-256": lambda folder: flip(folder / "labels.txt"),
    "saved_model/1/saved_model.pb: SHA-256": lambda folder: flip(folder / "saved_model/1/saved_model.pb"),
    "report.md: 0 bytes instead of": lambda folder: (folder / "report.md").write_text(""),
    "net.tflite: missing": lambda folder: (folder / "net.tflite").unlink(),
    "saved_model/1: missing": lambda folder: shutil.rmtree(folder / "saved_model"),
    "saved_model/1/more.txt: not named": lambda folder: (folder / "saved_model/1/more.txt").write_text("more"),
    "linked: not named": lambda folder: (folder / "linked").symlink_to(folder / "saved_model"),
}


@pytest.mark.parametrize("says", FAULTS)
def test_faults_are_named(call, folder, says):
    FAULTS[says](folder)
    code, printed = call(folder)
    assert code == 1
    assert says in printed.err
    assert printed.err.count("\n") == 1


def download(folder):
    """Add what the hub adds."""
    (folder / ".gitattributes").write_text("*.tflite filter=lfs")
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/lenet5.metadata").write_text("")


def test_what_a_download_from_the_hub_adds_is_no_fault(call, folder):
    download(folder)
    assert call(folder)[0] == 0
    (folder / ".cache/other").write_text("")
    code, printed = call(folder)
    assert code == 1
    assert ".cache/other: not named" in printed.err


def test_a_packed_copy_and_a_compressed_network_are_reread(call, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "net.kdc").write_bytes(b"coded")
    (folder / "net.tflite.xz").write_bytes(b"packed")
    manifest["artifacts"][1]["packed"] = {"path": "net.tflite.xz", "bytes": 6, "sha256": "0" * 64}
    manifest["compression"] = {"path": "net.kdc", "bytes": 7, "sha256": "0" * 64}
    manifest["files"] += ["net.kdc", "net.tflite.xz"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, printed = call(folder)
    assert code == 1
    assert "net.kdc: 5 bytes instead of 7" in printed.err
    assert "net.tflite.xz: SHA-256" in printed.err


def test_a_manifest_of_an_earlier_version_has_no_checksums(call, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["checksums"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, printed = call(folder)
    assert code == 0
    assert "no digest on record" in printed.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "has no manifest.json"),
        ("{", "is not the manifest of an export"),
        ("[]", "is not the manifest of an export"),
        ('{"files": []}', "is not the manifest of an export"),
        ('{"artifacts": [], "files": ["../secret"]}', "is not the manifest of an export"),
        ('{"artifacts": [{"path": "/etc", "sha256": 1, "bytes": 1}], "files": []}', "is not the manifest of an export"),
    ],
)
def test_what_is_no_export_is_refused(call, tmp_path, text, says):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    code, printed = call(tmp_path)
    assert code == 2
    assert says in printed.err
    assert printed.err.count("\n") == 1
