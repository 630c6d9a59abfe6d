"""A small receiver of callbacks on a real port: keeps what came, and answers as told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.sandbox.sandbox_caller import wait_until


@dataclass
class Heard:
    """One callback as it arrived."""

    path: str
    method: str
    content_type: str
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> dict[str, Any]:
        """The body, which is an object."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def action(self) -> tuple[str, str, str]:
        """What an `event_processed` callback says."""
        action = self.json["event_processed"]["action"]
        return action["type"], action["status"], action["status_reason"]


class Receiver:
    """Answers `status`, or what `answer` makes of a callback; a status of 0 is silence until the end."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.connections: list[socket.socket] = []
        self.status = 204
        self.answer: Callable[[Heard], int] = lambda heard: self.status
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, path: str = "/hear?tenant=acme") -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def receive(self, heard: Heard) -> int:
        """Keep a callback; the status to answer."""
        status = self.answer(heard)
        self.heard.append(heard)
        if status == 0:
            self._closing.wait(10)
        return status

    def wait_for(self, count: int, seconds: float = 10.0) -> list[Heard]:
        """The first `count` callbacks, once they are there."""
        wait_until(lambda: len(self.heard) >= count, seconds)
        return self.heard[:count]

    def close_connections(self) -> None:
        """As servers do to connections that have been idle for some time."""
        for one in list(self.connections):
            one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close the port."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            receiver.connections.append(self.connection)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard = Heard(self.path, self.command, self.headers["Content-Type"], body)
            status = receiver.receive(heard)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    return Handler
