"""How a wait for opt-ins goes: which question a known state is about, when to ask Vibes, what is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.heard_opt_in import is_about
from airflow_sms_flow.core.opt_in import (
    ABSENCE,
    USUAL_WINDOW,
    OptIn,
    OptInState,
    confirmations_needed,
    read_min_confirmed,
)
from airflow_sms_flow.core.values import read_choice

#: Looks at one person are at most so far apart: without callbacks, and where callbacks for this campaign came
#: within the same time. Theirs are only there to find what a lost callback would have told.
LONGEST_SECONDS, LONGEST_SECONDS_WHEN_TOLD = 3600.0, 6 * 3600.0
_AFTERWARDS = timedelta(seconds=1)
#: Who was asked longer ago is looked at as soon as somebody waits for them.
_LATE = timedelta(minutes=10)


def standing(stored: OptIn | None, expire_at: datetime, at: datetime) -> OptIn:
    """Where the question that ends at `expire_at` stands, by the newest one that the ledger knows (aware).

    - One about an older question says nothing about this one, which is open.
    - Who was asked anew had not joined by the older question: that one has expired once its time is over.
      Until then, and for who has said yes to the newer one, the newer one counts.
    """
    asked = OptIn(expire_at)
    if stored is None:
        return asked
    if is_about(stored, expire_at):
        return stored
    if stored.expire_at < expire_at:
        return asked
    if stored.state is not OptInState.CONFIRMED and at > asked.expired_after:
        return replace(asked, state=OptInState.EXPIRED)
    return stored


def read_wait_for(value: object) -> str:
    """What a wait is for: "all" or "first"."""
    return read_choice("wait_for", value, ("all", "first"))


def needed_to_go_on(wait_for: object, min_confirmed: object, people: int) -> int | None:
    """So many confirmations of these people end the wait; None: it takes a decision of everybody.

    `wait_for`: "all", or "first", which is `min_confirmed=1`. Raises `InvalidInput` where one is wrong, or
    where they contradict each other.
    """
    least = read_min_confirmed(min_confirmed)
    if read_wait_for(wait_for) == "all":
        return confirmations_needed(least, people)
    # A share, or the whole number 1: only the latter is what "first" says.
    if least is not None and (isinstance(least, float) or least != 1):
        remedy = "contradicts wait_for='first', which goes on after one: leave out one of the two"
        raise InvalidInput("min_confirmed", min_confirmed, remedy)
    return 1


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at a person: when (aware UTC), and how far from the one before."""

    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class LookPlan:
    """How often a person is looked at whose question is open.

    First after `first_seconds` (at once if asked more than ten minutes ago), then each time after twice as
    long, up to an hour; where callbacks come, every six hours. In any case right after `expired_after`: that
    look decides. All distances vary by a tenth, so that those who were asked together are not looked at
    together. `chance` is in [0, 1).
    """

    first_seconds: float
    #: All who wait for one campaign share this: GET calls to Vibes while confirm windows are open. The looks
    #: that end them, one call each, come on top, within the account's rate limit.
    calls_per_minute: int = 100

    @property
    def looks_per_minute(self) -> int:
        """A look takes one call while Vibes shows the person as pending, else two."""
        return max(1, self.calls_per_minute // 2)

    def longest(self, *, told: bool) -> float:
        """The greatest distance between two looks."""
        return max(self.first_seconds, LONGEST_SECONDS_WHEN_TOLD if told else LONGEST_SECONDS)

    def first(self, opt_in: OptIn, at: datetime, chance: float) -> Look:
        """The first look at somebody for whom a wait begins; at once where it decides, or where they may well
        have answered: a task that was cleared, or comes late."""
        asked_at = opt_in.asked_at or opt_in.expire_at - USUAL_WINDOW
        if at > opt_in.expired_after or at - asked_at > _LATE:
            return Look(at, self.first_seconds)
        return self._look(opt_in, at, self.first_seconds, chance)

    def after(self, opt_in: OptIn, at: datetime, seconds: float, chance: float, *, told: bool) -> Look:
        """The look after one that is under way at `at`, and had come `seconds` after the one before."""
        if at > opt_in.expired_after:
            # It decides, if only Vibes answers.
            return Look(at + timedelta(seconds=_varied(self.first_seconds, chance)), self.first_seconds)
        longest = self.longest(told=told)
        return self._look(opt_in, at, longest if told else min(2 * seconds, longest), chance)

    def second(self, opt_in: OptIn) -> datetime | None:
        """When to look again at somebody absent: after the half minute that decides, or at the very end."""
        if opt_in.state is not OptInState.PENDING or opt_in.absent_since is None:
            return None
        again = opt_in.absent_since + ABSENCE + _AFTERWARDS
        return again if again < opt_in.expire_at else opt_in.expired_after + _AFTERWARDS

    def _look(self, opt_in: OptIn, at: datetime, seconds: float, chance: float) -> Look:
        last = opt_in.expired_after + _AFTERWARDS
        return Look(min(at + timedelta(seconds=_varied(seconds, chance)), last), seconds)


def _varied(seconds: float, chance: float) -> float:
    return seconds * (0.9 + 0.2 * chance)
