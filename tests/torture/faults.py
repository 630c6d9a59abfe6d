"""What the sandbox does to requests in these tests: each kind alone, or all at once."""

from __future__ import annotations

from typing import Any

from tests.torture.crowd import SILENCE_SECONDS

NONE, ALL = "no faults", "all faults"

_RULES: dict[str, dict[str, Any]] = {
    "reset before": {"kind": "reset_before"},
    "reset after": {"kind": "reset_after"},
    "silence before": {"kind": "timeout_before", "seconds": SILENCE_SECONDS},
    "silence after": {"kind": "timeout_after", "seconds": SILENCE_SECONDS},
    "500": {"kind": "status", "status": 500},
    "500 after": {"kind": "status", "status": 500, "effect": True},
    "503 envelope": {"kind": "status", "status": 503},
    "429": {"kind": "status", "status": 429},
    "garbage": {"kind": "garbage"},
    "empty": {"kind": "empty"},
}
KINDS = (NONE, *_RULES, ALL)
_SHARE_ALONE, _SHARE_AMONG_ALL = 0.05, 0.02
#: Each 429 halves our pace for a while, as it should: a steady stream of them would only take time.
_SHARE_429_AMONG_ALL = 0.003


def rules(kind: str) -> list[dict[str, Any]]:
    """For the sandbox's panel: which share of all calls to Vibes goes wrong, and how."""
    if kind == NONE:
        return []
    if kind != ALL:
        return [{"vendor": "vibes", "share": _SHARE_ALONE, **_RULES[kind]}]
    shares = dict.fromkeys(_RULES, _SHARE_AMONG_ALL) | {"429": _SHARE_429_AMONG_ALL}
    return [{"vendor": "vibes", "share": shares[name], **rule} for name, rule in _RULES.items()]
