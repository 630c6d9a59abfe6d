"""A server on a real port that answers exactly what a test tells it to, misbehaviour included.

It knows neither vendor: a step gets the parsed request and the open socket and does what it likes.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]  #: names in lower case
    body: bytes
    connection: int  #: which connection it came on, counted from 1

    @property
    def path(self) -> str:
        """The path, still quoted."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query, unquoted as a server does it: a raw plus is a space."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


#: Does one answer. Returns whether the connection stays open for another request.
Step = Callable[[Request, socket.socket], bool]


def answer(
    status: int, body: object = b"", *, headers: dict[str, str] | None = None, close: bool = False
) -> Step:
    """A whole answer. Anything but bytes is sent as JSON; `close` hangs up without having said so."""

    def step(request: Request, peer: socket.socket) -> bool:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        peer.sendall(_head(status, {"Content-Length": str(len(content)), **(headers or {})}) + content)
        return not close

    return step


def cut(status: int, body: bytes, keep: int, *, headers: dict[str, str] | None = None) -> Step:
    """An answer whose connection ends after `keep` bytes of the body that it promised."""

    def step(request: Request, peer: socket.socket) -> bool:
        promised = {"Content-Length": str(len(body)), **(headers or {})}
        peer.sendall(_head(status, promised) + body[:keep])
        return False

    return step


def raw(content: bytes) -> Step:
    """Any bytes at all, then hang up."""

    def step(request: Request, peer: socket.socket) -> bool:
        peer.sendall(content)
        return False

    return step


def reset(request: Request, peer: socket.socket) -> bool:
    """Read the request, then reset the connection: it may have been done."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang_up(request: Request, peer: socket.socket) -> bool:
    """Read the request, then close the connection without a word."""
    return False


def hang(seconds: float) -> Step:
    """Say nothing for a while, then hang up."""

    def step(request: Request, peer: socket.socket) -> bool:
        threading.Event().wait(seconds)
        return False

    return step


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Odd')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status == 204:
        lines = [line for line in lines if not line.startswith("Content-Length")]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class ScriptedServer:
    """Plays `steps` one by one, then `forever` for whatever else comes. Records every request it could read.

    With `deaf=True` it resets each connection before it has read anything.
    """

    def __init__(
        self,
        *steps: Step,
        forever: Step | None = None,
        deaf: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._steps = list(steps)
        self._forever = forever or answer(599, b"the script has ended")
        self._deaf = deaf
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def play(self, *steps: Step) -> ScriptedServer:
        """Add steps to the script."""
        with self._lock:
            self._steps.extend(steps)
        return self

    def close(self) -> None:
        """Stop listening and drop every connection."""
        # Shut down, not closed: a thread may be blocked in it, and a number freed now would be used again.
        for open_socket in [self._listener, *self._peers]:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            with self._lock:
                self.connections += 1
                number = self.connections
                self._peers.append(peer)
            if self._deaf:
                time.sleep(0.05)  # the client has connected and written by now
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                continue
            threading.Thread(target=self._serve, args=(peer, number), daemon=True).start()

    def _serve(self, peer: socket.socket, number: int) -> None:
        try:
            peer = peer if self._tls is None else self._tls.wrap_socket(peer, server_side=True)
            with peer, peer.makefile("rb") as reader:
                while (request := _read(reader, number)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        step = self._steps.pop(0) if self._steps else self._forever
                    if not step(request, peer):
                        return
        except OSError:
            return


def _read(reader: Any, number: int) -> Request | None:
    line = reader.readline().decode("latin-1").rstrip("\r\n")
    if " HTTP/1." not in line:  # the end, or a TLS greeting
        return None
    method, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while header := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = header.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(method, target, headers, reader.read(int(headers.get("content-length", "0"))), number)


@dataclass
class Sleeps:
    """Stands for `time.sleep`: notes what was asked for and does not wait."""

    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    @property
    def total(self) -> float:
        """All of it together."""
        return sum(self.seconds)


def envelope(*messages: str) -> dict[str, Iterable[dict[str, object]]]:
    """Vibes' own error body."""
    return {"errors": [{"message": message, "code": 0} for message in messages]}
