"""Files on the Hugging Face hub as weights: hf://OWNER/NAME/FILE@REVISION."""

from __future__ import annotations

import re
from pathlib import Path

from kerascnn.weights.errors import WeightsUnavailable

SCHEME = "hf://"
FORM = "hf://OWNER/NAME/FILE@REVISION"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)/([^@\s]+)@([\w./-]+)")


def is_address(weights: str) -> bool:
    """Return whether weights are named by an address on the hub."""
    return weights.startswith(SCHEME)


def fetch(address: str) -> Path:
    """Return the file of an address on the hub, from the hub's own cache or the hub.

    Raises:
        ValueError: The address has another form.
        WeightsUnavailable: The hub does not give it.
        ImportError: huggingface_hub is not installed.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"A file on the Hugging Face hub is {FORM}, where REVISION is best the commit, because a branch moves; "
            f"weights is {address!r}."
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            f'Fetching {address} needs huggingface_hub, which is not installed: pip install "kerascnn[hub]".'
        ) from error
    repository, file, revision = match.groups()
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # its own errors, and those of the client below it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsUnavailable(f"{address} could not be fetched: {reason}") from error
