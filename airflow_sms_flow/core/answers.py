"""What an answer of either vendor means to us: one small vocabulary for every call.

The classes are those of the facts, section 0; `IN_DOUBT` is added for the calls that have no
idempotency key, where a lost answer must never be taken for a "no".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class AnswerClass(StrEnum):
    """What to do next, whoever answered."""

    OK = "ok"  #: done
    ALREADY = "already"  #: nothing to do; counts as success
    REFUSED = "refused"  #: permanent for this recipient: record the reason and go on
    RETRY = "retry"  #: it did not happen, for a passing reason: back off and repeat
    WAIT = "wait"  #: nothing before a known time
    BUG = "bug"  #: our request is wrong: stop
    CONFIG = "config"  #: account, feature or permission: stop and say what to change
    IN_DOUBT = "in_doubt"  #: it may have happened: do not repeat blindly


@dataclass(frozen=True, slots=True)
class Answer:
    """One classified answer.

    `reason` is a short snake_case word for reports (`bad_number`, `pending`). `detail` is for people:
    method, path *template* and status, never a body, a number or a query. `value` is what the caller
    asked for, already translated from the vendor's JSON.
    """

    kind: AnswerClass
    reason: str | None = None
    detail: str = ""
    value: Any = None
