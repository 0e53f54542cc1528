"""Photos read ahead on all cores, so that whatever answers them need not wait; never more than a few at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], ahead: int, threads: int | None = None
) -> Iterator[Result]:
    """Call a function for each item in threads; Pillow releases the GIL while it decodes and resizes.

    Args:
        read: The function.
        items: What it takes.
        ahead: How many results may wait for the caller.
        threads: As many as there are cores by default.

    Yields:
        Its results, in the order of the items.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count(), "read")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
