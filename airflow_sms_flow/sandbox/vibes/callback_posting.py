"""Posting one callback to its destination, over connections that stay open. One poster per thread."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

USER_AGENT = "vibes-sandbox-callbacks"


@dataclass(slots=True)
class Callback:
    """One event for one destination."""

    callback_id: str
    callback_type: str
    event_id: str
    url: str
    method: str
    content_type: str
    payload: dict[str, Any]
    attempts: int = 0
    is_copy: bool = False


class Poster:
    """Keeps one connection per host. `close` may be called from another thread, and ends a post at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._closed = False

    def post(self, callback: Callback, body: bytes, timeout: float) -> int:
        """The status of the answer, 0 for none in time. Redirects are answers: they are not followed."""
        parts = urlsplit(callback.url)
        place = parts.scheme, parts.netloc
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": callback.content_type, "User-Agent": USER_AGENT}
        known = place in self._connections and self._connections[place].sock is not None
        try:
            return self._exchange(place, callback.method, target, body, headers, timeout)
        except ConnectionError:
            self._forget(place)
            if not known or self._closed:
                return 0
        except (OSError, http.client.HTTPException, ValueError):
            self._forget(place)
            return 0
        try:  # the receiver had closed the connection meanwhile: this is still the same attempt
            return self._exchange(place, callback.method, target, body, headers, timeout)
        except (OSError, http.client.HTTPException, ValueError):
            self._forget(place)
            return 0

    def _exchange(
        self,
        place: tuple[str, str],
        method: str,
        target: str,
        body: bytes,
        headers: dict[str, str],
        timeout: float,
    ) -> int:
        connection = self._connection(place)
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        response.read()
        if response.will_close:
            self._forget(place)
        return response.status

    def _connection(self, place: tuple[str, str]) -> http.client.HTTPConnection:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError
            if place not in self._connections:
                scheme, netloc = place
                host = netloc.rpartition("@")[2]
                kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
                self._connections[place] = kind(host)
            return self._connections[place]

    def _forget(self, place: tuple[str, str]) -> None:
        with self._lock:
            connection = self._connections.pop(place, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """No post from now on; one under way ends without an answer."""
        with self._lock:
            self._closed = True
            for connection in self._connections.values():
                if connection.sock is not None:
                    with contextlib.suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)


def body_of(callback: Callback, *, broken: bool, numbered: bool) -> bytes:
    """What goes onto the wire. `numbered` adds `delivery_attempt`, as older callbacks have it; `broken` is
    the vendor's own sample of an unmatched message: the quote after mdn is missing.
    """
    payload = callback.payload
    if numbered:
        payload = {**payload, "delivery_attempt": str(callback.attempts)}
    body = json.dumps(payload, ensure_ascii=False)
    if broken and callback.callback_type == "unmatched_message_received":
        mdn = json.dumps(payload["participant"]["mdn"])
        body = body.replace(f'"mdn": {mdn}', f'"mdn": {mdn[:-1]}', 1)
    return body.encode()
