"""Four ways to know that somebody is on the list when their text leaves. DESIGN "Membership".

A text to somebody who did not agree is the worst that can happen, so whatever is not a look at Vibes itself
can only narrow: it holds people back, and the campaign's own subscription filter is behind it in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.steps.step import Decided

#: How old the ledger's word on opt-outs may be when a text leaves; a look at Vibes may be 60 s old.
_REFRESH_SECONDS = 30.0

_NOT_SUBSCRIBED = "not_subscribed"


class Membership(Protocol):
    """Asked for each person within the minute before their text, from many threads at once."""

    def refusal(self, phone: str) -> Answer | None:
        """Why this person may not be texted, or cannot be now; None: go on."""
        ...


@dataclass(frozen=True, slots=True)
class LookUp:
    """`membership="lookup"`: one call to Vibes for each person."""

    client: VibesClient
    list_id: str

    def refusal(self, phone: str) -> Answer | None:
        """`GET …/subscribers?mdn=`; also what a failing look means."""
        found = self.client.find_subscriber(self.list_id, mdn=phone)
        if found.kind is not AnswerClass.OK:
            return found
        return None if found.value is not None else _refused(Answer, found.detail)


@dataclass(frozen=True, slots=True)
class TrustCampaign:
    """`membership="campaign"`: the verified campaign's filter decides alone, at Vibes."""

    def refusal(self, phone: str) -> Answer | None:
        """Nobody is held back here."""
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`membership="extract"` and `"mirror"`: a list as it was, without those who have left since."""

    members: PhoneSet
    left_since: OptOuts
    source: str

    def refusal(self, phone: str) -> Answer | None:
        """Off the list, or known to have left."""
        if phone not in self.members:
            return _refused(Decided, f"not in the {self.source}")
        if phone in self.left_since.now():
            return _refused(Decided, f"left the list after the {self.source} was made")
        return None


class OptOuts:
    """Who is known to have left, read anew every 30 seconds. Threads share it.

    `read` gives them all; what it raises ends the sending, since without it nobody knows who has left.
    """

    def __init__(self, read: Callable[[], PhoneSet], refresh_seconds: float = _REFRESH_SECONDS) -> None:
        self._read = read
        self._refresh_seconds = refresh_seconds
        self._reading = threading.Lock()
        self._phones = PhoneSet()
        self._read_at = float("-inf")

    def now(self) -> PhoneSet:
        """Their numbers. Whoever finds them too old waits for the new ones."""
        if self._is_old():
            with self._reading:
                if self._is_old():
                    began = time.monotonic()
                    self._phones = self._read()
                    self._read_at = began
        return self._phones

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > self._refresh_seconds


def _refused(kind: type[Answer], detail: str) -> Answer:
    return kind(AnswerClass.REFUSED, _NOT_SUBSCRIBED, detail)
