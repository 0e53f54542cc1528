"""Photos are read ahead, but never all of them."""

import threading

import pytest

from kerascnn.photos.reading import read_ahead


def test_results_come_in_order_and_few_wait():
    begun = []
    results = read_ahead(lambda i: begun.append(i) or i * i, iter(range(1000)), ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(begun) <= 3 + 8
    results.close()
    assert len(begun) <= 3 + 8


def test_several_are_read_at_once():
    meeting = threading.Barrier(2, timeout=20)
    assert len(list(read_ahead(lambda _: meeting.wait(), range(4), ahead=4, threads=2))) == 4


def test_a_failure_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda i: 1 / i, [1, 0, 2], ahead=2))
