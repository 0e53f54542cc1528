"""The client: photos in, classes out, over either wire."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import numpy as np

from serving.client.errors import ClientError, OverloadedError, ServerError
from serving.client.images import to_bytes
from serving.client.wire import Target, Wire
from serving.contract import BYTES_SIGNATURE
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.client.images import Image

T = TypeVar("T")
_LONGEST_WAIT = 30.0  # seconds between two tries


@dataclass(frozen=True)
class Prediction:
    """A class that a photo may show: its number, its name ("" where the model has none), its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class VersionStatus:
    """A version of a model: its state (AVAILABLE is the one that serves), and why where it failed."""

    version: int
    state: str
    message: str


class Client:
    """Talks to one model of one server. May be used from many threads."""

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
    ) -> None:
        """
        Args:
            url: http:// or https:// for REST (port 8501), grpc:// or grpcs:// for gRPC (port 8500).
            model: the name under which it is served.
            version, label: which version; the newest without either.
            timeout: seconds for one try.
            retries: how often a request is sent again that a full server refused (429, 503; RESOURCE_EXHAUSTED,
                UNAVAILABLE). Nothing else is sent twice.
            backoff: seconds before the first retry, doubled for each further one, and shortened at random by up to
                half, so that many clients do not come back at the same moment.
            batch: most images in one request of `classify`.
            headers: sent with every request, such as {"X-API-Key": …}.
            ca: a file with the certificate of the authority, for TLS with one's own.

        Raises:
            RequestError: an argument is none that there can be.
        """
        if version is not None and label is not None:
            raise RequestError("Give a version or a label, not both.")
        if not model:
            raise RequestError("Give the name of the model.")
        if batch < 1 or retries < 0 or timeout <= 0:
            raise RequestError(f"batch={batch}, retries={retries}, timeout={timeout}: 1, 0 and above 0 are the least.")
        self._target = Target(model, version, label)
        self._retries, self._backoff, self._batch = retries, backoff, batch
        self._wire = _connect(url, timeout=timeout, headers=headers or {}, ca=ca)

    def classify(self, images: Iterable[Image], *, lossless: bool = False) -> list[tuple[Prediction, ...]]:
        """The likeliest classes of each image, in order, best first; none for a file that the server cannot decode.

        Images travel as JPEG or PNG files to the signature `serving_bytes`, which prepares them as the network wants:
        a tenth of the time and a hundredth of the bytes of JSON numbers.

        Args:
            images: paths, bytes of files, or arrays (see `serving.client.images.to_bytes`).
            lossless: send arrays as PNG rather than as JPEG.

        Raises:
            UnreadableImageError: one of the images is none; what came before it in the same batch was not sent.
            ClientError: a request failed.
        """
        found: list[tuple[Prediction, ...]] = []
        for batch in _batches((to_bytes(image, lossless=lossless) for image in images), self._batch):
            array = np.array(batch, dtype=object)
            outputs = self.predict({"image_bytes": array}, signature=BYTES_SIGNATURE)
            found += _predictions(outputs, len(batch))
        return found

    def predict(
        self, inputs: Mapping[str, np.ndarray], *, signature: str = "", outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs of any signature for whole arrays; strings are object arrays of bytes.

        REST answers a single output without its name; it is then under "".

        Raises:
            ClientError: the request failed.
        """
        target = Target(self._target.model, self._target.version, self._target.label, signature)
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return self._patiently(lambda: self._wire.predict(target, arrays, tuple(outputs)))

    def status(self) -> list[VersionStatus]:
        """The versions of the model, newest first, or the one that was asked for.

        Raises:
            ClientError: there is none, or the server cannot be reached.
        """
        found = self._patiently(lambda: self._wire.status(self._target))
        return [VersionStatus(**version) for version in sorted(found, key=lambda v: -v["version"])]

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _patiently(self, call: Callable[[], T]) -> T:
        for attempt in range(self._retries):
            try:
                return call()
            except OverloadedError:
                wait = min(self._backoff * 2**attempt, _LONGEST_WAIT)
                time.sleep(wait * random.uniform(0.5, 1.0))
        return call()


def _connect(url: str, *, timeout: float, headers: Mapping[str, str], ca: str | None) -> Wire:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        from serving.client.rest import RestWire

        return RestWire(url, timeout=timeout, headers=headers, ca=ca)
    if parts.scheme in ("grpc", "grpcs") and parts.hostname and not parts.path.strip("/"):
        from serving.client.rpc import RpcWire

        return RpcWire(parts.netloc, tls=parts.scheme == "grpcs", timeout=timeout, headers=headers, ca=ca)
    raise RequestError(
        f"{url!r} is no address of a server: http://HOST:8501 is REST, grpc://HOST:8500 is gRPC; https, grpcs with TLS."
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
        raise ServerError(f"The server answered for {len(ids)} images where {count} were sent.")
    rows = []
    for row in range(count):
        names = [name.decode(errors="replace") for name in labels[row]] if labels is not None else [""] * len(ids[row])
        triples = zip(ids[row], names, scores[row], strict=True)
        rows.append(tuple(Prediction(int(i), name, float(score)) for i, name, score in triples if i >= 0))
    return rows


__all__ = ["Client", "ClientError", "Prediction", "VersionStatus"]
