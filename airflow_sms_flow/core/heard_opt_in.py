"""What callbacks add to an opt-in, in any order and any number of times; and how polls are folded in.

What was heard beats what was polled: a poll only infers. Of answers to one question the newer counts; at the
same instant, the No. An answer older than the question is one to an earlier question.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from airflow_sms_flow.core.opt_in import EXPIRY_GRACE, USUAL_WINDOW, OptIn, OptInState

#: Vibes writes one moment with and without seconds: two `expire_date`s so near each other are one question.
SAME_QUESTION = timedelta(minutes=2)
#: The longest that a question stands open, for rows whose `asked_at` is not known. Usual are 24 hours.
LONGEST_WINDOW = timedelta(hours=48)


def is_about(known: OptIn, expire_at: datetime) -> bool:
    """Whether `known` is about the question that expires then."""
    if abs(known.expire_at - expire_at) <= SAME_QUESTION:
        return True
    if known.answered_at is None or known.answered_at != known.expire_at:
        return False
    # An answer that came without `expire_date` stands there with its own time.
    return expire_at - LONGEST_WINDOW <= known.answered_at <= expire_at + EXPIRY_GRACE


def after_question(known: OptIn | None, *, at: datetime, expire_at: datetime) -> OptIn:
    """Vibes asked at `at`. Newer than what is known, it opens the question again."""
    if known is None:
        return OptIn(expire_at, asked_at=at)
    latest = max(known.expire_at, expire_at)
    if known.asked_at is not None and at <= known.asked_at:
        return replace(known, expire_at=latest)
    if known.answered_at is not None:
        if known.answered_at >= at:
            return replace(known, expire_at=latest, asked_at=at)
        return OptIn(latest, asked_at=at)
    if is_about(known, expire_at):
        return replace(known, expire_at=latest, asked_at=at)
    return known if expire_at < known.expire_at else OptIn(expire_at, asked_at=at)


def after_answer(
    known: OptIn | None, *, confirmed: bool, at: datetime, expire_at: datetime | None = None
) -> OptIn:
    """Somebody answered at `at`. `expire_at`: of the question that was answered, where Vibes said so."""
    state = OptInState.CONFIRMED if confirmed else OptInState.DECLINED
    if known is None:
        return OptIn(expire_at or at, state, answered_at=at)
    if at < _asked_after(known) or _is_older_question(known, expire_at):
        return known
    latest = max(known.expire_at, expire_at or at)
    if known.answered_at is not None:
        before = (known.answered_at, known.state is OptInState.DECLINED)
        if (at, not confirmed) <= before:
            return replace(known, expire_at=latest)
    return OptIn(latest, state, asked_at=known.asked_at, answered_at=at)


def is_dated(known: OptIn) -> bool:
    """Whether callbacks told when the question was asked, or answered."""
    return known.asked_at is not None or known.answered_at is not None


def after_join(known: OptIn, *, at: datetime, stands: bool) -> OptIn:
    """Somebody came on the campaign's list at `at`: to Vibes the same as a Yes. `stands`: they did not leave
    it since.

    Where nobody told when the question was asked, a join may be older than it. Then only one counts that
    stands and lies within the usual window; whoever is left out by that is found on the list by a look.
    """
    if not is_dated(known) and not (stands and at >= known.expire_at - USUAL_WINDOW):
        return known
    return after_answer(known, confirmed=True, at=at)


def after_stored_poll(known: OptIn | None, polled: OptIn) -> OptIn:
    """What a sensor saw, folded into what the ledger knows by now: it may have heard an answer meanwhile."""
    if known is None:
        return polled
    same = is_about(known, polled.expire_at)
    if not same:
        return polled if polled.expire_at > known.expire_at else known
    is_decided = known.answered_at is not None or (
        known.state is not OptInState.PENDING and polled.state is OptInState.PENDING
    )
    if is_decided:
        return replace(known, expire_at=max(known.expire_at, polled.expire_at))
    return replace(polled, asked_at=known.asked_at, answered_at=None)


def _asked_after(known: OptIn) -> datetime:
    """No answer from before this moment is one to the question that is known."""
    return known.asked_at if known.asked_at is not None else known.expire_at - LONGEST_WINDOW


def _is_older_question(known: OptIn, expire_at: datetime | None) -> bool:
    """Of a question that only polls know of: whether this one expired before."""
    only_polled = known.asked_at is None and known.answered_at is None
    return only_polled and expire_at is not None and expire_at < known.expire_at - SAME_QUESTION
