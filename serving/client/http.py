"""HTTP calls of the client: one pool of connections, and the client's own errors."""

from __future__ import annotations

import json
from collections.abc import Mapping

import urllib3

from serving.client.errors import TimedOutError, UnreachableError, from_http
from serving.client.wire import Connection

_LONGEST_REASON = 500  # characters of a reply that is not the server's own JSON


class Http:
    """A pool of connections to one server."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url.rstrip("/")
        self._timeout = connection.timeout
        self._headers = dict(connection.headers)
        # The client does the retries itself, the same way for all wires.
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, ca_certs=connection.ca)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Return the reply of a request that succeeded.

        Raises:
            ClientError: It did not.
        """
        url = self.url + path
        sent = self._headers | ({"Content-Type": "application/json"} if body is not None else {}) | dict(headers or {})
        try:
            reply = self._pool.request(method, url, body=body, headers=sent, timeout=self._timeout, redirect=False)
        except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError) as error:
            raise UnreachableError(
                f"Nothing answers at {self.url}. Is the server running, and the port right?"
            ) from error
        except urllib3.exceptions.TimeoutError as error:
            raise TimedOutError(f"{url} gave no answer within {self._timeout:g} s.") from error
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"The connection to {self.url} failed: {error}") from error
        if reply.status != 200:
            raise from_http(reply.status, _reason(reply.data))
        return reply

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _reason(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()[:_LONGEST_REASON]
