"""Sign the folder of an export with a private key, and check that with the public one, by the package model-signing.

The signature, `model.sig`, covers every other file of the folder, manifest.json included. No network is needed.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.errors import RequestError
from export.files import digest_of, files_of
from export.opening import first_line
from export.publishing import FROM_HUB, SIGNATURE

_KINDS = "PEM file without a password, of an elliptic curve key on P-256, P-384 or P-521"
_ON_BAD_KEY = {
    "private": f"--sign (from Python: sign=) takes the private key: a {_KINDS}. One is made by: openssl ecparam -name "
    "prime256v1 -genkey -noout -out private.pem.",
    "public": f"--key takes the public key: a {_KINDS}. It is made from the private one by: openssl ec -in private.pem "
    "-pubout -out public.pem.",
}


def check_private_key(path: Path) -> None:
    """Refuse a private key that cannot sign.

    Raises:
        RequestError: It is none, or the package is not installed.
    """
    _signer(path)


def sign(folder: Path, private_key: Path) -> None:
    """Sign all files of a folder; the signature is put beside them.

    Args:
        folder: The folder of an export, complete with its manifest.
        private_key: A PEM file.

    Raises:
        RequestError: The key cannot be used, or the package is not installed.
    """
    from model_signing import hashing

    signature = folder / SIGNATURE
    hashes = hashing.Config().set_ignored_paths(paths=[SIGNATURE, *FROM_HUB])
    _signer(private_key).set_hashing_config(hashes).sign(folder, signature)


def problem(folder: Path, public_key: Path) -> str | None:
    """Say why the signature of a folder does not hold; None where it does.

    Args:
        folder: The folder of an export.
        public_key: A PEM file.

    Raises:
        RequestError: The key cannot be used, or the package is not installed.
    """
    return _problem(folder, public_key, f"the private key of {public_key}")


def problem_of_signer(folder: Path, private_key: Path) -> str | None:
    """Say why the signature of a folder is not one that a private key has made; None where it is.

    Args:
        folder: The folder of an export.
        private_key: A PEM file.

    Raises:
        RequestError: The key cannot be used, or the package is not installed.
    """
    check_private_key(private_key)
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(private_key.read_bytes(), None).public_key()
    with tempfile.TemporaryDirectory() as directory:
        public = Path(directory) / "public.pem"
        public.write_bytes(
            key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return _problem(folder, public, str(private_key))


def _problem(folder: Path, public_key: Path, private_key: str) -> str | None:
    """Say why the signature of a folder does not hold; `private_key` is what messages call that."""
    verifying = _package("verifying")
    with _loading("public", public_key):
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    signature = folder / SIGNATURE
    if not signature.is_file():
        return "missing: the folder is not signed"
    try:
        signed = _signed_digests(signature)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "not a signature that can be read"
    ignored = [folder / name for name in (SIGNATURE, *FROM_HUB)]
    files = [file for file in files_of(folder) if not any(file.is_relative_to(path) for path in ignored)]
    found = {file.relative_to(folder).as_posix(): file for file in files}
    try:
        config.verify(folder, signature)
    except Exception as error:  # the package raises whatever its parts do
        if not str(error).startswith("Signature mismatch"):
            return f"not made with {private_key}, or spoilt ({first_line(error)})"
        changed = sorted(name for name in signed.keys() & found.keys() if digest_of(found[name]) != signed[name])
        said = {
            "changed after signing": changed,
            "signed and missing": sorted(signed.keys() - found.keys()),
            "added after signing": sorted(found.keys() - signed.keys()),
        }
        return "; ".join(f"{', '.join(names)} {words}" for words, names in said.items() if names)
    return None


def _signer(path: Path) -> Any:
    signing = _package("signing")
    with _loading("private", path):
        return signing.Config().use_elliptic_key_signer(private_key=path)


def _package(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise RequestError(
            f"Signatures need {error.name}, which is not installed: pip install 'kerascnn[sign]'."
        ) from None


@contextmanager
def _loading(kind: str, path: Path) -> Iterator[None]:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}. {_ON_BAD_KEY[kind]}") from None
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):  # the last but one: of another kind, as RSA
        raise RequestError(f"{path} is no such key. {_ON_BAD_KEY[kind]}") from None


def _signed_digests(signature: Path) -> dict[str, str]:
    """Read the SHA-256 of each file from a signature, as the standards in-toto and DSSE have it."""
    envelope = json.loads(signature.read_text(encoding="utf-8"))["dsseEnvelope"]
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    return {resource["name"]: resource["digest"] for resource in predicate["resources"]}
