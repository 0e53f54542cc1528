"""Warm-up: the requests that lie beside a SavedModel are run before it serves, and no caller waits for the first."""

from __future__ import annotations

from pathlib import Path

from serving.contract.warmup import MOST, read_warmup
from serving.development.prediction import predict, to_array
from serving.development.servable import Servable
from serving.development.statuses import StatusError, invalid


def warm_up(servable: Servable, folder: Path, *, all_sizes: bool) -> int:
    """Run the warm-up requests of the version in `folder`; the number of those that ran.

    Args:
        all_sizes: run every request, as the real server does; otherwise the first for each signature, since without
            batching a CPU gains nothing from the others.

    Raises:
        StatusError: a request cannot be read or fails, in which case the real server does not serve the version either.
    """
    try:
        requests = read_warmup(folder)
    except ValueError as error:
        raise invalid(f"The warm-up requests cannot be read: {error}") from error
    if len(requests) > MOST:
        raise invalid(f"There are {len(requests)} warm-up requests; {MOST} are the most.")
    seen: set[str] = set()
    count = 0
    for number, request in enumerate(requests, 1):
        if request.signature in seen and not all_sizes:
            continue
        seen.add(request.signature)
        try:
            signature = servable.signature(request.signature)
            if signature is None:
                raise invalid(f"there is no signature {request.signature}")
            predict(servable, signature, {name: to_array(name, value) for name, value in request.inputs.items()})
        except StatusError as error:
            raise StatusError(error.code, f"Warm-up request {number} fails: {error.message}") from error
        count += 1
    return count
