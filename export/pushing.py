"""Upload the folder of an export to a repository of the Hugging Face hub, by huggingface_hub."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from export.errors import ExportError, RequestError
from export.files import files_of
from export.opening import first_line
from export.publishing import MANIFEST, SIGNATURE


def check_name(name: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        RequestError: It is none, or the package is not installed.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise RequestError(f"A repository on the hub is OWNER/NAME; --push (from Python: push=) is {name!r}.")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise RequestError("--push needs huggingface_hub, which is not installed: pip install 'kerascnn[hub]'.")


def push(folder: Path, name: str) -> None:
    """Make one commit of a folder in a repository, which must exist.

    What an earlier export has put there and is not in the folder is removed; other files stay.

    Args:
        folder: The folder of an export.
        name: OWNER/NAME.

    Raises:
        ExportError: The hub refuses it or does not answer.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    files = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    try:
        info = api.model_info(name)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        stale = sorted(_of_an_export(api, name, there) - files.keys())
        api.create_commit(
            name,
            [
                *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()),
                *(CommitOperationDelete(path_in_repo=path) for path in stale),
            ],
            commit_message=f"Export of {folder.name}",
            parent_commit=info.sha,  # refused where somebody else has committed meanwhile
        )
    except Exception as error:  # its own errors, and those of the client below it
        raise ExportError(
            f"{folder} is published there, but was not pushed to {name}: {_reason(error, name)} To upload it "
            f"without an export, which removes nothing there: hf upload {name} {folder}."
        ) from error


def _of_an_export(api: Any, name: str, there: Iterable[str]) -> set[str]:
    """Return which files of a repository its own manifest names, with that and a signature."""
    there = set(there)
    if MANIFEST not in there:
        return set()
    with tempfile.TemporaryDirectory() as directory:
        path = api.hf_hub_download(name, MANIFEST, local_dir=directory)
        try:
            known = set(json.loads(Path(path).read_text(encoding="utf-8"))["files"])
        except (ValueError, KeyError, TypeError):  # another's
            return set()
    return there & {*known, MANIFEST, SIGNATURE}


def _reason(error: Exception, name: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if type(error).__name__ == "RepositoryNotFoundError":
        return "there is no such repository, or your token does not show it. Make it at https://huggingface.co/new."
    if status in (401, 403):
        return f"the hub does not take your token for it ({status}). Log in with one that may write: hf auth login."
    if status is None:
        return f"the hub could not be reached: {first_line(error).rstrip('.')}."
    return f"the hub answered {status}: {first_line(error).rstrip('.')}."
