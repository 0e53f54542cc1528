"""The client: photos in, classes out, over either wire."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

import numpy as np

from serving.client.errors import OverloadedError, ServerError
from serving.client.images import to_bytes
from serving.client.wire import Connection, Target, VersionStatus, Wire
from serving.contract import BYTES_SIGNATURE
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.client.images import Image

T = TypeVar("T")
_LONGEST_WAIT = 30.0  # seconds between two tries


@dataclass(frozen=True)
class Prediction:
    """A class that a photo may show: its number, its name ("" if the model has none), its probability."""

    index: int
    label: str
    score: float


class Client:
    """Ask one model of one server. A client may be used from many threads."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        backoff: float = 0.25,
        batch: int = 8,
        headers: Mapping[str, str] | None = None,
        ca: str | None = None,
        protocol: Literal["v1", "v2"] | None = None,
    ) -> None:
        """Connect to a server when the first request is sent.

        Args:
            url: http:// or https:// for REST (port 8501), grpc:// or grpcs:// for gRPC (port 8500). With the path /v2
                the Open Inference Protocol instead (Triton, KServe): http://HOST:8000/v2, grpc://HOST:8001/v2.
            model: The name that the model is served under.
            version: The version to ask; the newest without `version` and `label`.
            label: The label of the version to ask.
            timeout: Seconds for one try.
            retries: How often a request is sent again that a full server refused (429, 503; RESOURCE_EXHAUSTED,
                UNAVAILABLE). Nothing else is sent twice.
            backoff: Seconds before the first retry, doubled for each further one. The wait is shortened at random by up
                to half, so that many clients do not return at the same moment.
            batch: The most images in one request of `classify`.
            headers: Sent with every request, such as {"X-API-Key": …}.
            ca: A file with the certificate of the authority, for TLS with your own.
            protocol: "v1" is TensorFlow Serving's, "v2" the Open Inference Protocol; by default the path of `url` says.

        Raises:
            RequestError: An argument is not valid.
        """
        if version is not None and label is not None:
            raise RequestError("Give a version or a label, not both.")
        if not model:
            raise RequestError("Give the name of the model.")
        if batch < 1 or retries < 0 or timeout <= 0:
            raise RequestError(
                f"batch={batch}, retries={retries}, timeout={timeout}: batch is at least 1, retries at least 0, and "
                "timeout above 0."
            )
        self._target = Target(model, version, label)
        self._retries, self._backoff, self._batch = retries, backoff, batch
        if protocol not in (None, "v1", "v2"):
            raise RequestError(f"protocol is {protocol!r}; give v1 or v2, or leave it out and the address says.")
        self._wire = _connect(Connection(url, timeout, headers or {}, ca), protocol)

    def classify(self, images: Iterable[Image], *, lossless: bool = False) -> list[tuple[Prediction, ...]]:
        """Return the likeliest classes of each image, in order, best first.

        Images travel as JPEG or PNG files to the signature `serving_bytes`, which prepares them for the network. JSON
        numbers would take ten times as long and a hundred times as many bytes. Over V2 they are prepared here, as the
        model's configuration says, and travel as binary tensors.

        Args:
            images: Paths, bytes of files, or arrays (see `serving.client.images.to_bytes`).
            lossless: Send arrays as PNG rather than as JPEG.

        Returns:
            For each image its classes; an empty tuple for a file that cannot be decoded.

        Raises:
            UnreadableImageError: An image cannot be read. Its batch was not sent.
            ClientError: A request failed.
        """
        classes: list[tuple[Prediction, ...]] = []
        for batch in _batches((to_bytes(image, lossless=lossless) for image in images), self._batch):
            outputs = self._retry(partial(self._wire.classify, self._target, batch))
            classes += _predictions(outputs, len(batch))
        return classes

    def predict(
        self, inputs: Mapping[str, np.ndarray], *, signature: str = "", outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the outputs of any signature for whole arrays.

        Args:
            inputs: The inputs by name; strings are object arrays of bytes.
            signature: The signature to call; the default one if empty.
            outputs: The outputs to return; all of them if empty.

        Returns:
            The outputs by name. REST answers a single output without its name, which is then "".

        Raises:
            RequestError: An input has no rows. Nothing was sent: a server that batches would keep such a request, and
                one of its threads, until another one comes.
            ClientError: The request failed.
        """
        target = replace(self._target, signature=signature)
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        for name, value in arrays.items():
            if value.ndim and not len(value):
                raise RequestError(
                    f"The input {name} has no rows, only the shape {list(value.shape)}; send one or more."
                )
        return self._retry(lambda: self._wire.predict(target, arrays, tuple(outputs)))

    def status(self) -> list[VersionStatus]:
        """Return the versions of the model, newest first, or the one that was asked for by number.

        To a server's status a label counts for nothing: all versions come.

        Raises:
            ClientError: There is none, or the server cannot be reached.
        """
        versions = self._retry(lambda: self._wire.status(self._target))
        return sorted(versions, key=lambda row: -row.version)

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _retry(self, call: Callable[[], T]) -> T:
        for attempt in range(self._retries):
            try:
                return call()
            except OverloadedError:
                wait = min(self._backoff * 2**attempt, _LONGEST_WAIT)
                time.sleep(wait * random.uniform(0.5, 1.0))
        return call()


def _connect(connection: Connection, protocol: str | None) -> Wire:
    parts = urlsplit(connection.url)
    if protocol == "v2" and not parts.path.rstrip("/").endswith("/v2"):
        connection = replace(connection, url=f"{connection.url.rstrip('/')}/v2")
        parts = urlsplit(connection.url)
    is_http, is_grpc = parts.scheme in ("http", "https"), parts.scheme in ("grpc", "grpcs")
    is_v2 = parts.path.rstrip("/").endswith("/v2") and protocol != "v1"
    if is_v2 and parts.hostname and (is_http or (is_grpc and parts.path.rstrip("/") == "/v2")):
        from serving.client import v2, v2_rpc

        return v2.V2Wire(connection) if is_http else v2_rpc.V2RpcWire(connection)
    if is_http and parts.hostname:
        from serving.client.rest import RestWire

        return RestWire(connection)
    if is_grpc and parts.hostname and not parts.path.strip("/"):
        from serving.client.rpc import RpcWire

        return RpcWire(connection)
    raise RequestError(
        f"{connection.url!r} is not the address of a server: http://HOST:8501 is REST, grpc://HOST:8500 is gRPC; https "
        "and grpcs use TLS. With the path /v2, such as http://HOST:8000/v2, it is the Open Inference Protocol."
    )


def _batches(items: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while batch := list(islice(items, size)):
        yield batch


def _predictions(outputs: Mapping[str, np.ndarray], count: int) -> list[tuple[Prediction, ...]]:
    try:
        ids, scores = outputs["top_ids"], outputs["top_scores"]
    except KeyError as error:
        raise ServerError(
            f"{BYTES_SIGNATURE} answers {', '.join(sorted(outputs))}, not top_ids and top_scores."
        ) from error
    labels = outputs.get("top_labels")
    if ids.shape != scores.shape or len(ids) != count:
        raise ServerError(f"The server answered for {len(ids)} images; {count} were sent.")
    rows = []
    for row in range(count):
        names = [name.decode(errors="replace") for name in labels[row]] if labels is not None else [""] * len(ids[row])
        triples = zip(ids[row], names, scores[row], strict=True)
        rows.append(tuple(Prediction(int(i), name, float(score)) for i, name, score in triples if i >= 0))
    return rows
