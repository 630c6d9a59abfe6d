"""Requests, responses and routes: the little of HTTP that both vendors share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"


class BadRequest(Exception):
    """A body or parameter that cannot be read; the text says what was expected."""


@dataclass(slots=True)
class Request:
    """One request as it came in. Header names are lower case; `path` is not yet unquoted."""

    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes = b""
    #: Set by the server: the sliding window this call counted in, and whether that was full.
    ring: str = ""
    over_limit: bool = False
    too_many_at_once: bool = False
    #: Set by the vendor: the template of the route that matched, and what the log should add.
    route: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, list[str]]:
        """Query parameters, decoded the way forms are: a raw plus is a space."""
        return parse_qs(self.query_string, keep_blank_values=True)

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; raises `BadRequest`."""
        try:
            value = json.loads(self.body or b"null")
        except ValueError:
            raise BadRequest("the body is not valid JSON") from None
        if not isinstance(value, dict):
            raise BadRequest("the body must be a JSON object")
        return value


@dataclass(slots=True)
class Response:
    """One answer, before it goes onto the wire."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)

    def to_bytes(self, *, keep_alive: bool = True) -> bytes:
        """Head and body in one piece, for one write."""
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        if self.status != 204:
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("latin-1") + (self.body if self.status != 204 else b"")


def json_response(status: int, value: object) -> Response:
    """An answer with a JSON body."""
    return Response(status, json.dumps(value, ensure_ascii=False).encode())


def text_response(status: int, text: str) -> Response:
    """An answer with a plain text body."""
    return Response(status, text.encode(), TEXT_TYPE)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


Handler = Callable[[Request, dict[str, str]], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path template such as `/companies/{company_key}/events`."""

    method: str
    template: str
    handler: Handler

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The values of the template's parameters, or None where the path is another."""
        wanted = self.template.split("/")
        if len(wanted) != len(segments):
            return None
        values = {}
        for want, have in zip(wanted, segments, strict=True):
            opening, closing = want.find("{"), want.find("}")
            if opening < 0:
                if want != have:
                    return None
                continue
            before, after = want[:opening], want[closing + 1 :]
            if len(have) <= len(before) + len(after) or not (
                have.startswith(before) and have.endswith(after)
            ):
                return None
            values[want[opening + 1 : closing]] = unquote(have[len(before) : len(have) - len(after)])
        return values


class Router:
    """Routes in order of being added; the first match wins. Trailing slashes are ignored."""

    def __init__(self) -> None:
        self._routes: dict[int, list[Route]] = {}

    def add(self, method: str, template: str, handler: Handler) -> None:
        """Add one route."""
        route = Route(method, template.rstrip("/"), handler)
        self._routes.setdefault(route.template.count("/"), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a request, with the values in its path."""
        segments = path.rstrip("/").split("/")
        for route in self._routes.get(len(segments) - 1, ()):
            if route.method == method and (values := route.match(segments)) is not None:
                return route, values
        return None

    def nearby(self, method: str, path: str, count: int = 5) -> list[str]:
        """The routes that look most like a path that matched none."""
        wanted = f"{method} {path.rstrip('/')}"
        names = [f"{route.method} {route.template}" for routes in self._routes.values() for route in routes]
        return sorted(names, key=lambda name: -SequenceMatcher(None, wanted, name).ratio())[:count]
