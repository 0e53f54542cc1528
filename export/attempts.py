"""Make artifacts one by one, so that one that fails costs the others nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from export import publishing
from export.errors import RequestError
from export.manifest import Failure
from export.opening import first_line

if TYPE_CHECKING:
    from export.context import Context
    from export.request import Item

T = TypeVar("T")


def attempt(context: Context, item: Item, make_one: Callable[[], T]) -> tuple[T | None, Failure | None]:
    """Do something for one artifact; where that fails, remove it and say why: it must not cost the others."""
    path = context.folder / item.path(context.job.loaded.origin.stem)
    try:
        return make_one(), None
    except RequestError:
        raise
    except Exception as error:  # converters raise whatever they like
        if publishing.disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        _remove(path)
        return None, Failure(item.format.name, item.precision.name, first_line(error))


def reasons(failures: Iterable[Failure]) -> str:
    """Say why artifacts failed."""
    return " ".join(f"{failure.format} {failure.precision}: {failure.reason.rstrip('.')}." for failure in failures)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        path.parent.rmdir()  # saved_model/, which held the version folder alone
    path.unlink(missing_ok=True)
