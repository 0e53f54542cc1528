"""Warm-up: the requests beside a SavedModel are run before it serves, so no caller waits for the first run."""

from __future__ import annotations

from pathlib import Path

from serving.contract.warmup import MOST, read_warmup
from serving.development.runtime.prediction import predict
from serving.development.runtime.servable import Servable
from serving.development.runtime.tensors import to_array
from serving.development.statuses import StatusError, invalid


def warm_up(servable: Servable, folder: Path, *, all_sizes: bool) -> int:
    """Run the warm-up requests of the version in `folder`, and return how many ran.

    With `all_sizes` every request is run, as in the real server; otherwise the first for each signature, since without
    batching a CPU gains nothing from the others. If one fails, the real server does not serve the version either.
    """
    try:
        requests = read_warmup(folder)
    except ValueError as error:
        raise invalid(f"The warm-up requests cannot be read: {error}") from error
    if len(requests) > MOST:
        raise invalid(f"There are {len(requests)} warm-up requests; {MOST} are the most.")
    warmed: set[str] = set()
    count = 0
    for number, request in enumerate(requests, 1):
        if request.signature in warmed and not all_sizes:
            continue
        warmed.add(request.signature)
        try:
            signature = servable.signature(request.signature)
            if signature is None:
                raise invalid(f"there is no signature {request.signature}")
            predict(servable, signature, {name: to_array(name, value) for name, value in request.inputs.items()})
        except StatusError as error:
            raise StatusError(error.code, f"Warm-up request {number} fails: {error.message}") from error
        count += 1
    return count
