"""One small file for a network: what it is, how photos are prepared, what its classes are, and its weights (.kdc).

After Deep Compression (Han, Mao & Dally 2016, arXiv:1510.00149): weights that were pruned and share few values are kept
as a codebook and coded indices; every other array as it is, in float16 where that holds its values exactly. Nothing is
rounded here: decoding gives the float32 arrays that were encoded, bit by bit.

    magic      "KDC" and the format's version, one byte
    length     uint32, of the header
    header     JSON, deflated: the fields of `Header`, and "arrays" as [layer, weight, shape, entries, bits], where
               `entries` is the size of the codebook, 0 for an array that has none
    remainder  the lower bytes of arrays without a codebook, but for the first, which the coder's states hold
    stream     see `kerascnn.weights.container.entropy`
    digest     the first 16 bytes of the SHA-256 of everything before

All is little endian. A file is not trusted: its sizes are checked before anything of that size is made, and what it
says of its network is compared with the network that is built.
"""

from kerascnn.weights.container.coding import decode, encode, half
from kerascnn.weights.container.describing import arrays_of, describe
from kerascnn.weights.container.files import SUFFIX, Container, check, open_file, read, read_header, record, write
from kerascnn.weights.container.header import Header

__all__ = [
    "SUFFIX",
    "Container",
    "Header",
    "arrays_of",
    "check",
    "decode",
    "describe",
    "encode",
    "half",
    "open_file",
    "read",
    "read_header",
    "record",
    "write",
]
