"""What goes over the wire and what comes back, as values: a call, a reply, or no reply at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from airflow_sms_flow.core.errors import InvalidInput

Timeout = tuple[float, float]  #: (connect, read) in seconds


@dataclass(frozen=True, slots=True)
class Call:
    """One request. Only `method` and `template` may ever be shown: the rest may name a person."""

    method: str
    template: str
    path: Mapping[str, str | int] = field(default_factory=dict, repr=False)
    query: Mapping[str, str | int] = field(default_factory=dict, repr=False)
    body: object = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """For logs and errors: `GET /companies/{company_key}/mobiledb/persons`."""
        return f"{self.method} {self.template}"

    @property
    def shown_path(self) -> str:
        """The template as a path that HTTP libraries accept and may log: `/companies/:company_key/...`."""
        return self.template.replace("{", ":").replace("}", "")

    def target(self) -> str:
        """The real path and query, quoted so that no value can leave its place (`+` becomes `%2B`)."""
        path = self.template.format_map({name: _segment(name, value) for name, value in self.path.items()})
        return f"{path}?{urlencode(self.query, quote_via=quote)}" if self.query else path


def _segment(name: str, value: str | int) -> str:
    text = str(value)
    # Nothing, `.` and `..` would make another path of it, quoted or not.
    if not text.strip("."):
        raise InvalidInput(name, "(empty or dots only)", "give the identifier that the vendor shows for it")
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response whose status and headers arrived; `complete` is False where its body broke off."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    complete: bool = True

    def json(self) -> Any:
        """The parsed body; None where it is empty. Raises ValueError for anything that is not JSON."""
        if not self.complete:
            raise ValueError("the body broke off")
        if not self.body.strip():
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise ValueError("the body is not JSON") from None

    def is_json(self) -> bool:
        """Whether the body came whole and is empty or JSON, as the vendors' own answers are."""
        try:
            self.json()
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class NoReply:
    """No response came. `sent` is False only where certainly no byte of the request had left."""

    sent: bool
    fault: str  #: for people: "could not connect"
    certificate: bool = False  #: the server's TLS certificate was refused: a setting, not a passing fault


Outcome = Reply | NoReply


def normalise_host(host: str, *, drop: tuple[str, ...] = ()) -> str:
    """`https://host[:port][/prefix]` without a trailing slash; path endings in `drop` are cut off.

    Raises `InvalidInput` for anything that is not an http(s) address, or one that carries more.
    """
    text = host.strip().rstrip("/")
    remedy = "give an address such as https://public-api.vibescm.com, without user name, query or fragment"
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidInput("host", "(not an http or https address)", remedy)
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidInput("host", "(an address with a user name, query or fragment)", remedy)
    for ending in drop:
        text = text.removesuffix(ending)
    return text


def as_text(value: object) -> str | None:
    """An identifier that a vendor sends as text or as a number; None where it is missing or empty."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def as_utc(value: object) -> datetime | None:
    """A vendor's timestamp as aware UTC: `…:23Z`, `…T14:30Z` and `+00:00` all occur (facts A.0).

    None where it is missing or empty; raises ValueError where it is there and cannot be read, so that an
    unreadable opt-out date is never taken for none.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("a date that is not text")
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_object(value: object) -> Mapping[str, Any]:
    """A JSON object, or ValueError."""
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def as_objects(value: object) -> list[Mapping[str, Any]]:
    """A JSON array of objects, or ValueError."""
    if not isinstance(value, list):
        raise ValueError("expected a JSON array")
    return [as_object(item) for item in value]
