"""Keep the noise of TensorFlow and its converters, much of it written by C++, away from the user."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def quiet() -> Iterator[tuple[IO[str], Path]]:
    """Redirect standard error of the whole process into a log file.

    Yields:
        A stream to the real standard error, and the path of the log, which is removed unless an error passes through.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    handle, name = tempfile.mkstemp(prefix="kerascnn-export-", suffix=".log")
    log = Path(name)
    sys.stderr.flush()
    real = os.dup(2)
    failed = True
    try:
        os.dup2(handle, 2)
        with os.fdopen(os.dup(real), "w", buffering=1) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            yield stream, log
        failed = False
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
        os.close(handle)
        if not failed or log.stat().st_size == 0:
            log.unlink()
