"""The binary form of the Open Inference Protocol."""

import numpy as np
import pytest

from serving import tensors
from serving.errors import RequestError


@pytest.mark.parametrize("datatype", tensors.DATATYPES)
def test_there_and_back(datatype):
    array = np.arange(6).reshape(2, 3) % 2
    array = (np.array([[b"", b"a"], [b"\xff\0", b"bc"]], object)) if datatype == "BYTES" else array
    array = array.astype(tensors.DATATYPES[datatype])
    assert tensors.datatype_of(array) == datatype
    found = tensors.from_bytes(tensors.to_bytes(array), datatype, array.shape)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_text_is_utf8():
    assert tensors.to_bytes(np.array(["ä"])) == b"\x02\0\0\0\xc3\xa4"


@pytest.mark.parametrize(
    ("content", "datatype", "shape"),
    [
        (b"123", "FP32", (1,)),
        (b"", "FP32", (-1,)),
        (b"\x05\0\0\0abc", "BYTES", (1,)),
        (b"\x05\0", "BYTES", (1,)),
        (b"\x01\0\0\0a", "BYTES", (2,)),
        (b"", "FP8", (0,)),
    ],
)
def test_what_does_not_fit_is_refused(content, datatype, shape):
    with pytest.raises(ValueError, match=r"\w"):
        tensors.from_bytes(content, datatype, shape)


def test_a_type_without_a_name_is_refused():
    with pytest.raises(RequestError, match="complex64"):
        tensors.datatype_of(np.zeros(1, np.complex64))
