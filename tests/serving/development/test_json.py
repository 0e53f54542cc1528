"""JSON to arrays and back, where a mistake would be a wrong answer rather than an error."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from serving.development.rest import parsing, replies, requests
from serving.development.statuses import Code, StatusError, readable


def test_nested_lists_keep_their_order() -> None:
    """A transposed image would still be classified, only wrongly."""
    expected = np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    (array,) = requests.read_tensors({"instances": expected.tolist()}, {"images": "float"})[0].values()
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float", 0.1), ("double", 1e-300), ("int64", -(2**63)), ("uint64", 2**64 - 1), ("bool", True)],
)
def test_extreme_values_survive_the_way_in_and_out(dtype: str, value: float) -> None:
    """Floats are read and written without a digit lost, and integers never pass through a float."""
    array = requests.to_array([value], dtype)
    assert json.loads(replies.predictions({"y": array}, rows=False)) == {"outputs": [value]}


def test_every_float32_is_written_so_that_it_reads_back() -> None:
    """The reply's digits are as few as possible, and enough."""
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    found = json.loads(replies.predictions({"y": values}, rows=True))["predictions"]
    np.testing.assert_array_equal(np.array(found, np.float32), values)


def test_infinities_and_nan_are_bare_words() -> None:
    """As the server writes them, though strict JSON has no such words."""
    text = replies.predictions({"y": np.array([np.nan, np.inf, -np.inf], np.float32)}, rows=True)
    assert text == b'{"predictions": [NaN, Infinity, -Infinity]}'
    document = parsing.parse(b'{"inputs": [NaN, Infinity, -Infinity, 1]}')
    (array,) = requests.read_tensors(document, {"x": "float"})[0].values()
    assert math.isnan(array[0])
    assert array[1:].tolist() == [math.inf, -math.inf, 1.0]


def test_small_integers_are_cut_as_the_server_cuts_them() -> None:
    """A value beyond uint8 is not refused: it wraps, and a client that clips nothing gets what it would get there."""
    assert requests.to_array([256, -1, 255], "uint8").tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([[1.0], [1.0, 2.0]], "float"),
        ([[1.0], 1.0], "float"),
        ([1.0, [1.0]], "float"),
        ([[[]], [1]], "float"),
        ([{"b64": "AA=="}], "float"),
        ([None], "string"),
        ([1], "string"),
        ([{"b64": 1}], "string"),
        ([{"b64": "AAAAA"}], "string"),
        ([2**31], "int32"),
        ([1], "bool"),
        (["x"], "half"),
    ],
)
def test_what_is_no_tensor_is_refused_with_a_short_message(value: object, dtype: str) -> None:
    """Never an exception of another kind, which would be a 500."""
    with pytest.raises(StatusError) as caught:
        requests.to_array(value, dtype)
    assert caught.value.code.http in (400, 501)


def test_an_error_does_not_quote_the_whole_request() -> None:
    """A megabyte in comes back as a line."""
    with pytest.raises(StatusError) as caught:
        requests.read_tensors({"instances": {"x": [0.5] * 100_000}}, {"x": "float"})
    assert len(caught.value.message) < 500


def test_lists_without_end_do_not_exhaust_the_stack() -> None:
    """Neither in the parser nor behind it."""
    for depth in (40, 2_000, 500_000):
        with pytest.raises(StatusError):
            document = parsing.parse(b'{"instances": ' + b"[" * depth + b"]" * depth + b"}")
            requests.read_tensors(document, {"x": "float"})


def test_outputs_that_end_in_bytes_are_binary() -> None:
    """Other strings are text, even where they are not: their bytes pass as they are."""
    outputs = {"name": np.array([b"\xff"], object), "raw_bytes": np.array([b"\xff"], object)}
    expected = b'{"predictions": [{"name": "\xff", "raw_bytes": {"b64": "/w=="}}]}'
    assert replies.predictions(outputs, rows=True) == expected


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0), (2, 0, 3), (0, 2), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
def test_every_shape_is_written_as_lists(shape: tuple[int, ...], dtype: type) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    written = array.tolist() if dtype is not object else array.astype(str).tolist()
    assert json.loads(replies.predictions({"y": array}, rows=False)) == {"outputs": written}
    if shape:
        assert json.loads(replies.predictions({"y": array}, rows=True)) == {"predictions": written}


@pytest.mark.parametrize(
    ("value", "text"),
    [(1 / 3, "0.333333343"), (9e6, "9e+06"), (2.0, "2.0"), (0.2, "0.2"), (16777216.0, "16777216.0"), (-0.0, "-0.0")],
)
def test_numbers_are_spelled_as_the_server_spells_them(value: float, text: str) -> None:
    assert replies.predictions({"y": np.array([value], np.float32)}, rows=False) == f'{{"outputs": [{text}]}}'.encode()


def test_no_status_is_without_an_answer() -> None:
    """Every code of TensorFlow's has its HTTP status; only OK is a success."""
    assert len(Code) == 17
    assert [code for code in Code if code.http < 400] == [Code.OK]


def test_errors_of_the_runtime_lose_their_stack() -> None:
    """File names of the server's machine are nobody else's business."""
    message = (
        "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n"
        "  File \"/home/someone/server.py\", line 1, in <module>\nNode: 'a'\nwhat was wrong\n\t [[{{node a}}]]\n\n"
        "Original stack trace for 'a':\n  File \"/home/someone/x.py\", line 2"
    )
    assert readable(message) == "what was wrong"
