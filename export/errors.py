"""The two ways an export ends badly; the command line turns each into its own exit code."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class ExportError(Exception):
    """Something failed while doing what was asked (exit code 1). The message says what, and what to do next."""


class RequestError(ExportError):
    """What was asked cannot be done as asked (exit code 2). Raised before any work starts."""


def check_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse a name that is not known, and say which it may have meant.

    Args:
        what: What they are names of.
        names: Those that were given.
        known: Those that there are.

    Raises:
        RequestError: One of them is not known.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RequestError(f"There is no {what} {name!r}. Choose from {', '.join(known)}.{hint}")
