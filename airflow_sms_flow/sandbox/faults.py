"""What goes wrong, and when: rules that the control panel sets.

    {"kind": "reset_after", "vendor": "vibes", "method": "POST", "path": "/companies/*/events", "share": 0.05}

`path` is a shell pattern over the path as sent. A rule strikes the next `count` matching requests, or a
seeded `share` of them, or (with neither) every one. The first rule that strikes wins; `slow` alone lets
others follow.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from airflow_sms_flow.sandbox.wire import Request, Response, json_response

#: kind -> what it does. "Effect" is what the vendor does when the request succeeds.
KINDS = {
    "reset_before": "the connection is reset, without effect",
    "reset_after": "the effect happens, then the connection is reset",
    "timeout_before": "nothing for `seconds`, then the connection closes, without effect",
    "timeout_after": "the effect happens, then nothing for `seconds`, then the connection closes",
    "status": "`status` without effect (with one if `effect`); `body`: vendor, html, text or echo",
    "garbage": "the effect happens, then its status with an unreadable body",
    "empty": "the effect happens, then its status with an empty body",
    "slow": "`seconds` of waiting before anything else",
    "cut": "the answer breaks off after `bytes` bytes of its body",
    "wrong_checksum": "a completed export job shows the checksum of another file (path: the status call)",
    "lost_job": "a completed export job's file answers 404 (path: the file call)",
    "export_failed": "an export job ends as Failed (path: the enqueue call)",
}
#: These are asked for by the vendor's own code, not by the server.
INNER_KINDS = frozenset({"wrong_checksum", "lost_job", "export_failed"})
_BODIES = ("vendor", "html", "text", "echo")


@dataclass
class FaultRule:
    """One rule. Raises ValueError with field, value and remedy."""

    kind: str
    vendor: str = ""  #: "vibes", "marketo" or "" for both
    method: str = ""  #: "" for any
    path: str = "*"
    share: float | None = None
    count: int | None = None
    seconds: float = 5.0
    status: int = 500
    body: str = "vendor"
    bytes: int = 0
    effect: bool = False
    rule_id: int = 0
    struck: int = 0
    random: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: give one of {', '.join(KINDS)}")
        if self.vendor not in ("", "vibes", "marketo"):
            raise ValueError(f"vendor={self.vendor!r}: give 'vibes', 'marketo' or leave it out")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share!r}: give a number from 0 to 1")
        if self.count is not None and (not isinstance(self.count, int) or self.count < 0):
            raise ValueError(f"count={self.count!r}: give how many of the next requests, a whole number")
        if self.body not in _BODIES:
            raise ValueError(f"body={self.body!r}: give one of {', '.join(_BODIES)}")
        if not isinstance(self.status, int) or not 100 <= self.status <= 599:
            raise ValueError(f"status={self.status!r}: give an HTTP status")

    def strikes(self, vendor: str, request: Request) -> bool:
        """Whether this request is hit; counts it if so."""
        if self.vendor not in ("", vendor) or self.method not in ("", request.method):
            return False
        if self.count == 0 or not fnmatchcase(request.path, self.path):
            return False
        if self.share is not None and self.random.random() >= self.share:
            return False
        if self.count is not None:
            self.count -= 1
        self.struck += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """For the control panel."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "random"}
        return {name: value for name, value in values.items() if value is not None}


class Faults:
    """The rules in force. Guarded by the sandbox's lock."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._number = 0
        self.rules: list[FaultRule] = []

    def add(self, description: Mapping[str, Any]) -> FaultRule:
        """Add a rule; raises ValueError where it makes no sense."""
        known = {item.name for item in fields(FaultRule)} - {"random", "rule_id", "struck"}
        unknown = sorted(set(description) - known)
        if unknown:
            raise ValueError(f"{unknown[0]}: no such field of a fault; there are {', '.join(sorted(known))}")
        if "kind" not in description:
            raise ValueError(f"kind: missing; give one of {', '.join(KINDS)}")
        self._number += 1
        rule = FaultRule(**dict(description))
        rule.rule_id = self._number
        rule.random = random.Random(f"{self._seed}:{self._number}")
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.rules.clear()

    def pick(self, vendor: str, request: Request) -> tuple[float, FaultRule | None]:
        """Seconds of slowness, and the one rule that strikes."""
        slow = 0.0
        for rule in self.rules:
            if rule.kind in INNER_KINDS or not rule.strikes(vendor, request):
                continue
            if rule.kind != "slow":
                return slow, rule
            slow += rule.seconds
        return slow, None

    def strikes(self, kind: str, request: Request) -> bool:
        """Whether one of the vendor's inner faults happens to this request."""
        return any(rule.kind == kind and rule.strikes("marketo", request) for rule in self.rules)


def faulty_response(rule: FaultRule, vendor: str, request: Request) -> Response:
    """The answer of a `status` rule."""
    if rule.body == "html":
        page = f"<html><head><title>{rule.status}</title></head><body><h1>{rule.status}</h1></body></html>"
        return Response(rule.status, page.encode(), "text/html")
    if rule.body == "text":
        return Response(rule.status, b"upstream connect error", "text/plain")
    message = "The sandbox was told to fail."
    if rule.body == "echo":
        sent = request.body.decode("utf-8", "replace") or request.query_string
        message = f"Cannot process {request.method} {request.path}?{request.query_string}: {sent}"
    if vendor == "marketo":
        error = {"code": str(rule.status), "message": message}
        return json_response(rule.status, {"requestId": "fa17#0", "success": False, "errors": [error]})
    return json_response(rule.status, {"errors": [{"message": message, "code": rule.status}]})


GARBAGE = b'{"event_id": "\xff\xfe\x00 <html> unterminated'
