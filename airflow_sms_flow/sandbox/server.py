"""The sandbox on a real port: reads requests, lets faults strike, writes answers in one piece."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from socketserver import StreamRequestHandler
from types import TracebackType
from typing import Any

from airflow_sms_flow.sandbox.clock import iso
from airflow_sms_flow.sandbox.faults import GARBAGE, FaultRule, faulty_response
from airflow_sms_flow.sandbox.marketo.routes import IDENTITY
from airflow_sms_flow.sandbox.panel import Panel
from airflow_sms_flow.sandbox.record import Record
from airflow_sms_flow.sandbox.settings import Settings
from airflow_sms_flow.sandbox.state import MARKETO_RING, State
from airflow_sms_flow.sandbox.wire import Request, Response, text_response

_LONGEST_LINE = 16 * 1024
_LARGEST_BODY = 64 * 1024 * 1024
_LONGEST_VENDOR_URI = 8 * 1024


class HangUp(Exception):
    """The connection ends here: with a reset, or quietly. `part` is what is still written before."""

    def __init__(self, *, reset: bool, part: bytes = b"") -> None:
        self.reset, self.part = reset, part
        super().__init__()


class Dispatcher:
    """From a request to an answer, faults included. One for all connections."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.panel = Panel(state)
        self.closing = threading.Event()

    def answer(self, request: Request) -> bytes:
        """The bytes to write. Raises `HangUp` where a fault ends the connection."""
        vendor = _vendor(request.path)
        if vendor is None:
            return self._own_answer(request).to_bytes()
        record = self.state.record
        self._arrive(record, vendor, request)
        under_way = record.enter(request.ring) if request.ring else 0
        try:
            request.too_many_at_once = under_way > self.state.settings.marketo_concurrent_calls
            return self._vendor_answer(record, vendor, request)
        finally:
            if request.ring:
                record.leave(request.ring)

    def _own_answer(self, request: Request) -> Response:
        if request.path.startswith("/_sandbox"):
            return self.panel.handle(request)
        if request.path == "/":
            return Response(302, b"", "text/plain", {"Location": "/_sandbox/"})
        return text_response(
            404,
            f"Nothing at {request.method} {request.path}. Vibes is at /companies/..., Marketo at "
            "/identity/..., /rest/... and /bulk/..., the control panel at /_sandbox/.\n",
        )

    def _arrive(self, record: Record, vendor: str, request: Request) -> None:
        """Count the call in its window, at the moment when the server saw it."""
        settings = self.state.settings
        limit, seconds = settings.vibes_others_per_second, 1.0
        if vendor == "vibes":
            parts = request.path.strip("/").split("/")
            is_event = request.method == "POST" and parts[2:] == ["events"]
            request.ring = f"vibes {parts[1] if len(parts) > 1 else ''} {'events' if is_event else 'others'}"
            limit = settings.vibes_events_per_second if is_event else limit
        elif request.path != IDENTITY:
            request.ring = MARKETO_RING
            limit, seconds = settings.marketo_calls_per_window, settings.marketo_window_seconds
        if request.ring:
            request.over_limit = not record.arrive(request.ring, limit, seconds)

    def _vendor_answer(self, record: Record, vendor: str, request: Request) -> bytes:
        started = time.monotonic()
        with self.state.lock:
            slow, rule = self.state.faults.pick(vendor, request)
            at = iso(self.state.clock.now())
        self.closing.wait(slow + self.state.settings.latency_seconds)
        status = 0
        try:
            if rule is not None and rule.kind in ("reset_before", "timeout_before"):
                raise self._hang_up(rule)
            response = self._handled(vendor, request, rule)
            status = response.status
            return self._after(rule, response)
        finally:
            seconds = round(time.monotonic() - started, 4)
            record.write({"at": at, "seconds": seconds, **_log_entry(vendor, request, status, rule)})

    def _handled(self, vendor: str, request: Request, rule: FaultRule | None) -> Response:
        wants_failure = rule is not None and rule.kind == "status"
        if rule is not None and wants_failure and not rule.effect:
            return faulty_response(rule, vendor, request)
        with self.state.lock:
            self.state.advance()
            api = self.state.vibes if vendor == "vibes" else self.state.marketo
            too_long = len(request.path) + len(request.query_string) > _LONGEST_VENDOR_URI
            response = text_response(414, "URI too long") if too_long else _bug_proof(api.handle, request)
        return faulty_response(rule, vendor, request) if rule is not None and wants_failure else response

    def _after(self, rule: FaultRule | None, response: Response) -> bytes:
        """What a fault leaves of a good answer."""
        if rule is None or rule.kind == "status":
            return response.to_bytes()
        if rule.kind in ("reset_after", "timeout_after"):
            raise self._hang_up(rule)
        if rule.kind in ("garbage", "empty"):
            response.body = GARBAGE if rule.kind == "garbage" else b""
            return response.to_bytes()
        whole = response.to_bytes()
        head = len(whole) - len(response.body)
        raise HangUp(reset=False, part=whole[: head + rule.bytes])

    def _hang_up(self, rule: FaultRule) -> HangUp:
        if rule.kind.startswith("reset"):
            return HangUp(reset=True)
        self.closing.wait(rule.seconds)
        return HangUp(reset=False)


def _bug_proof(handler: Callable[[Request], Response], request: Request) -> Response:
    """A bug of the sandbox's own is told as such, to the client and on the terminal."""
    try:
        return handler(request)
    except Exception as error:  # or the client would wait for an answer that never comes
        traceback.print_exc()
        return text_response(500, f"The sandbox itself has a bug: {type(error).__name__}")


def _vendor(path: str) -> str | None:
    if path.startswith("/companies/"):
        return "vibes"
    return "marketo" if path.startswith(("/identity/", "/rest/", "/bulk/")) else None


def _log_entry(vendor: str, request: Request, status: int, rule: FaultRule | None) -> dict[str, Any]:
    """What the log says about a request; status 0 is none. Secrets of the token call stay out."""
    entry: dict[str, Any] = {
        "vendor": vendor,
        "method": request.method,
        "path": request.path,
        "query": "" if request.path == IDENTITY else request.query_string,
        "route": request.route or ("(unknown)" if rule is None else request.path),
        "ring": request.ring,
        "status": status,
        **request.notes,
    }
    return entry if rule is None else entry | {"fault": rule.kind}


class _Connection(StreamRequestHandler):
    """One connection, kept alive. Reads HTTP/1.1 by itself: the standard library's way is slow."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        try:
            while self._one_request():
                pass
        except (ConnectionError, TimeoutError, ValueError):
            return  # the client went away, or the sandbox is closing
        finally:
            self.server.connections.discard(self.connection)

    def _one_request(self) -> bool:
        """Read and answer one request. Whether another may follow."""
        request = self._read()
        if request is None:
            return False
        try:
            answer = self.server.dispatcher.answer(request)
        except HangUp as end:
            self._hang_up(end)
            return False
        self.wfile.write(answer)
        return request.headers.get("connection", "").lower() != "close"

    def _read(self) -> Request | None:
        line = self.rfile.readline(_LONGEST_LINE + 1)
        words = line.decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            if line.strip():
                self.wfile.write(
                    text_response(414 if len(line) > _LONGEST_LINE else 400, "Bad request").to_bytes()
                )
            return None
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(_LONGEST_LINE + 1)).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if words[2] == "HTTP/1.0":
            headers.setdefault("connection", "close")
        path, _, query = words[1].partition("?")
        body = self._read_body(headers)
        return None if body is None else Request(words[0], path, query, headers, body)

    def _read_body(self, headers: dict[str, str]) -> bytes | None:
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > _LARGEST_BODY:
            self.wfile.write(
                text_response(411, "Send a Content-Length of at most 64 MB").to_bytes(keep_alive=False)
            )
            return None
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _hang_up(self, end: HangUp) -> None:
        if end.part:
            self.wfile.write(end.part)
        if end.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def shutdown_request(self, request: Any) -> None:
        """Closed with a reset, a socket is gone already."""
        with contextlib.suppress(OSError):
            super().shutdown_request(request)


class Sandbox:
    """Both vendors and the control panel on one port, in threads of this process.

    `with Sandbox(Settings(leads=100)) as sandbox: requests.get(sandbox.url + ...)`; port 0 takes a free one.
    """

    def __init__(self, settings: Settings | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._state = State(settings or Settings())
        self._dispatcher = Dispatcher(self._state)
        self._server = _Server((host, port), self._dispatcher)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of both vendors, for the connections' host."""
        return f"http://{self._server.server_address[0]!s}:{self.port}"

    @property
    def state(self) -> State:
        """The world inside, up to date. Hold `state.lock` for more than a glance."""
        with self._state.lock:
            self._state.advance()
        return self._state

    def start(self) -> Sandbox:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End at once, open connections included; callbacks that still wait are never sent."""
        self._dispatcher.closing.set()
        self._state.deliveries.stop()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._state.deliveries.join(1.0)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
