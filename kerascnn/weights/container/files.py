"""Reading and writing .kdc files. A file that is opened is read once, and its checksum is right."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerascnn.files import replacing
from kerascnn.keras_graph import without_values
from kerascnn.registry import WeightsRecord
from kerascnn.weights.container.coding import decode_arrays, encode, equal, open_data
from kerascnn.weights.container.describing import weights_of
from kerascnn.weights.errors import WeightsError

if TYPE_CHECKING:
    import keras

    from kerascnn.weights.container.header import ArrayRow, Header

SUFFIX = ".kdc"


@dataclass(frozen=True)
class Container:
    """A file that was read, with a right checksum; its arrays are still coded.

    Attributes:
        path: Where it was read from.
        header: What it says of its network.
        rows: The arrays that it announces.
        size: The size of the file, in bytes.
        sha256: The SHA-256 of the file.
    """

    path: Path
    header: Header
    rows: list[ArrayRow] = field(repr=False)
    size: int
    sha256: str
    body: bytes = field(repr=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """Decode the weights, float32 by `layer/weight`.

        Raises:
            WeightsError: They are damaged.
        """
        return decode_arrays(self.rows, self.body, str(self.path))

    def record(self) -> WeightsRecord:
        """Return the file as the builders know weights: what its network needs, and how photos are prepared for it."""
        header = self.header
        return WeightsRecord(
            variant=header.variant,
            name=self.path.name,
            url=header.origin.get("url", ""),
            source=header.origin.get("name", ""),
            licence=header.origin.get("licence", ""),
            preprocessing=asdict(header.preprocessing) if header.preprocessing else None,
            file=self.path.name,
            format="kdc",
            sha256=self.sha256,
            bytes=self.size,
            classes=header.classes,
            labels=header.labels or "",
            options=header.options,
            input_shape=header.input_shape,
            trained=header.trained,
        )


def open_file(path: str | os.PathLike[str]) -> Container:
    """Read a file, without decoding its arrays.

    Raises:
        FileNotFoundError: There is no file of that name.
        WeightsError: It is damaged, or is no .kdc file, or kerascnn builds no network of that name.
    """
    data = Path(path).read_bytes()
    header, rows, body = open_data(data, str(path))
    return Container(Path(path), header, rows, len(data), hashlib.sha256(data).hexdigest(), body)


def read(path: str | os.PathLike[str]) -> tuple[Header, dict[str, np.ndarray]]:
    """Return what a file says of its network, and its weights by `layer/weight`, float32.

    Raises:
        FileNotFoundError: There is no file of that name.
        WeightsError: As for `open_file`; or its arrays are damaged.
    """
    opened = open_file(path)
    return opened.header, opened.arrays()


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what a file says of its network, once its checksum was found right.

    Raises:
        FileNotFoundError: There is no file of that name.
        WeightsError: As for `open_file`.
    """
    return open_file(path).header


def record(path: str | os.PathLike[str]) -> WeightsRecord:
    """Return a file as the builders know weights: see `Container.record`.

    Raises:
        FileNotFoundError: There is no file of that name.
        WeightsError: As for `open_file`.
    """
    return open_file(path).record()


def check(path: str | os.PathLike[str], build: Callable[..., keras.Model]) -> None:
    """Compare the arrays that a file announces with the weights of the network that its header describes.

    The network is built without memory for its weights.

    Args:
        path: The file.
        build: Builds a network by the name of its variant and its options, as `kerascnn.create_model` does.

    Raises:
        FileNotFoundError: There is no file of that name.
        WeightsError: As for `open_file`; or an array is missing, unknown, or of another shape.
    """
    opened = open_file(path)
    header = opened.header
    try:
        with without_values():
            model = build(header.variant, **header.options, classes=header.classes, input_shape=header.input_shape)
    except Exception as error:  # whatever a builder or Keras says of options that make no network
        raise WeightsError(f"{path}: {header.variant} cannot be built as the file says: {error}") from None
    expected = {name: tuple(weight.shape) for name, weight in weights_of(model).items()}
    announced = {row.path: row.shape for row in opened.rows}
    for name in [*expected, *announced]:
        if expected.get(name) != announced.get(name):
            raise WeightsError(
                f"{path} does not hold the {header.variant} that it says it is: {name} would be "
                f"{expected.get(name, 'unknown')}, the file has {announced.get(name, 'none')}."
            )


def write(
    path: str | os.PathLike[str], header: Header, arrays: Mapping[str, np.ndarray], *, demand_half: bool = False
) -> int:
    """Write a file under its name only once it is complete, and decodes to what was encoded.

    Returns:
        The number of its bytes.

    Raises:
        ValueError: As for `encode`; or the name does not end in .kdc.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"The name of such a file ends in {SUFFIX}; it is {path.name!r}.")
    data = encode(header, arrays, demand_half=demand_half)
    _, rows, body = open_data(data, path.name)
    decoded = decode_arrays(rows, body, path.name)
    if not all(equal(decoded[name], array) for name, array in arrays.items()):
        raise AssertionError(f"{path.name} does not decode to what was encoded.")
    with replacing(path) as partial:
        partial.write_bytes(data)
    return len(data)
