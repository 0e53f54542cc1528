"""`--sign` and `verify --key`: what was signed holds, every planted fault is named, and no stale signature is left."""

import base64
import json
import shutil

import pytest

import export
from export import RequestError, cli
from export.publishing import SIGNATURE
from tests.export.test_verifying import download, flip, network
from tests.processes import in_process

pytest.importorskip("model_signing", reason="the extra sign is not installed")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def written(folder, name, key, password=None):
    """Write a key pair; the paths of the private and of the public key."""
    paths = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths[0].write_bytes(key.private_bytes(encoding, form, encryption))
    paths[1].write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return paths


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A pair that signs, and others that do not."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "empty.pem").write_text("")
    return {
        "ours": written(folder, "ours", ec.generate_private_key(ec.SECP256R1())),
        "other": written(folder, "other", ec.generate_private_key(ec.SECP384R1())),
        "rsa": written(folder, "rsa", rsa.generate_private_key(65537, 2048)),
        "curve": written(folder, "curve", ec.generate_private_key(ec.SECP256K1())),
        "locked": written(folder, "locked", ec.generate_private_key(ec.SECP256R1()), b"secret"),
        "empty": (folder / "empty.pem", folder / "empty.pem"),
        "missing": (folder / "missing.pem", folder / "missing.pem"),
    }


@pytest.fixture(scope="module")
def signed(tmp_path_factory, keys):
    folder = tmp_path_factory.mktemp("signed") / "net"
    export.export(network(), folder, formats=["saved_model", "tflite"], sign=keys["ours"][0])
    return folder


@pytest.fixture
def folder(signed, tmp_path):
    return shutil.copytree(signed, tmp_path / "renamed")


@pytest.fixture
def verify(capsys):
    def invoke(folder, *arguments):
        code = in_process(cli.main, "export", "verify", folder, *arguments)
        printed = capsys.readouterr()
        assert printed.err.count("\n") == bool(code)
        return code, printed

    return invoke


def test_a_signed_export_holds_under_another_name(verify, folder, keys):
    code, printed = verify(folder, "--key", keys["ours"][1])
    assert code == 0
    code, printed = verify(folder, "--key", keys["ours"][1], "--json")
    (row,) = (row for row in json.loads(printed.out)["files"] if row["kind"] == "signature")
    assert (row["path"], row["state"]) == (SIGNATURE, "holds")
    code, printed = verify(folder)
    assert code == 0
    assert "not checked" in printed.out


def test_a_download_from_the_hub_holds(verify, folder, keys):
    download(folder)
    assert verify(folder, "--key", keys["ours"][1])[0] == 0


def rewrite(folder):
    """Change an artifact, and the manifest with it: what digests alone do not find."""
    before = (folder / "manifest.json").read_text()
    old = export.files.digest_of(folder / "net.tflite")
    flip(folder / "net.tflite")
    (folder / "manifest.json").write_text(before.replace(old, export.files.digest_of(folder / "net.tflite")))


FAULTS = {
    "model.sig: manifest.json, net.tflite changed after signing": rewrite,
    "net.tflite: SHA-256": lambda folder: flip(folder / "net.tflite"),
    "model.sig: saved_model/1/saved_model.pb changed": lambda folder: flip(folder / "saved_model/1/saved_model.pb"),
    "model.sig: report.md signed and missing": lambda folder: (folder / "report.md").unlink(),
    "model.sig: more.txt added after signing": lambda folder: (folder / "more.txt").write_text("more"),
    "model.sig: missing: the folder is not signed": lambda folder: (folder / SIGNATURE).unlink(),
    "model.sig: not a signature": lambda folder: (folder / SIGNATURE).write_text("{}"),
}


@pytest.mark.parametrize("says", FAULTS)
def test_faults_are_named(verify, folder, keys, says):
    FAULTS[says](folder)
    code, printed = verify(folder, "--key", keys["ours"][1])
    assert code == 1
    assert says in printed.err


def test_a_payload_that_was_changed_is_no_signature(verify, folder, keys):
    """Who changes a file, the manifest and the digests in the signature too, has not the key to sign these."""
    bundle = json.loads((folder / SIGNATURE).read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).decode()
    olds = [export.files.digest_of(folder / name) for name in ("net.tflite", "manifest.json")]
    rewrite(folder)
    for name, old in zip(("net.tflite", "manifest.json"), olds, strict=True):
        payload = payload.replace(old, export.files.digest_of(folder / name))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.encode()).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))
    assert verify(folder)[0] == 0
    code, printed = verify(folder, "--key", keys["ours"][1])
    assert code == 1
    assert "model.sig: not made with the private key of" in printed.err


def test_another_key_is_named(verify, folder, keys):
    code, printed = verify(folder, "--key", keys["other"][1])
    assert code == 1
    assert f"model.sig: not made with the private key of {keys['other'][1]}" in printed.err


@pytest.mark.parametrize("kind", ["rsa", "curve", "locked", "empty", "missing"])
def test_keys_that_do_not_fit_are_refused(verify, tmp_path, folder, keys, kind):
    private, public = keys[kind]
    with pytest.raises(RequestError, match=f"{private.name} .*openssl ecparam"):
        export.export(network(), tmp_path / "net", formats=["tflite"], sign=private)
    assert not (tmp_path / "net").exists()
    if kind != "locked":  # its public key is like any other
        code, printed = verify(folder, "--key", public)
        assert code == 2
        assert public.name in printed.err
    code, printed = verify(folder, "--key", keys["ours"][0])
    assert code == 2
    assert "--key takes the public key" in printed.err


def test_an_export_without_the_key_leaves_a_signed_folder_as_it_is(folder):
    before = (folder / SIGNATURE).read_bytes()
    with pytest.raises(RequestError, match="is signed, and model.sig would no longer hold. Add --sign"):
        export.export(network(), folder, formats=["onnx"])
    assert (folder / SIGNATURE).read_bytes() == before
    assert not (folder / "net.onnx").exists()


def test_an_export_with_the_key_signs_what_stays_again(verify, folder, keys):
    export.export(network(), folder, formats=["onnx"], sign=keys["ours"][0])
    assert {"net.onnx", "net.tflite"} <= {path.name for path in folder.iterdir()}
    assert verify(folder, "--key", keys["ours"][1])[0] == 0


@pytest.mark.parametrize(
    ("key", "fault", "says"),
    [
        ("other", lambda folder: None, "not made with {}, or spoilt"),
        ("ours", rewrite, "manifest.json, net.tflite changed after signing"),
    ],
)
def test_what_another_signed_or_changed_is_not_signed_again(folder, keys, key, fault, says):
    fault(folder)
    with pytest.raises(RequestError, match="what stays would be signed again, but model.sig is") as refused:
        export.export(network(), folder, formats=["onnx"], sign=keys[key][0])
    assert says.format(keys[key][0]) in str(refused.value)
    export.export(network(), folder, formats=["onnx"], replace=True)
    assert not (folder / SIGNATURE).exists()


def test_the_command_line_refuses_before_the_network_is_built(folder, keys, monkeypatch, capsys):
    folder.rename(folder.with_name("lenet5"))
    arguments = ("export", "--model", "lenet5", "--tflite", "--weights", "none", "--dry-run", "--output", folder.parent)
    assert in_process(cli.main, *arguments) == 2
    assert "is signed" in capsys.readouterr().err
    assert in_process(cli.main, *arguments, "--sign", keys["rsa"][0]) == 2
    assert "rsa.pem is no such key" in capsys.readouterr().err
