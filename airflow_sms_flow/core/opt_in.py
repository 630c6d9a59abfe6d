"""What a person's answers add up to: pending, confirmed, declined or expired.

No API says "declined" or "expired". Vibes only shows, at each poll, whether a person is pending and whether
they are on the list; this module folds those polls into a decision that errs on the side of waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from airflow_sms_flow.core.errors import InvalidInput

#: How long a question stands open where Vibes does not say (facts A.2).
USUAL_WINDOW = timedelta(hours=24)
#: How long after `expire_at` a poll must be to decide "expired": the vendor's clock is not ours.
EXPIRY_GRACE = timedelta(seconds=60)
#: How far apart two polls must be to decide "declined": between pending and on the list, a person who just
#: confirmed is for a moment neither.
ABSENCE = timedelta(seconds=30)


class OptInState(StrEnum):
    """Where one person stands. All but `PENDING` are final."""

    PENDING = "pending"
    CONFIRMED = "confirmed"  #: on the list
    DECLINED = "declined"  #: answered No, or left before confirming
    EXPIRED = "expired"  #: did not answer in time


@dataclass(frozen=True, slots=True)
class OptIn:
    """One person's open question. `expire_at` is Vibes' `expire_date`; every time is aware UTC.

    `absent_since`: the first poll, since they were last seen pending, that found them neither pending nor on
    the list.
    `asked_at` and `answered_at`: event times of the question and of the answer that made this state, where
    callbacks told them; see `core.heard_opt_in`.
    """

    expire_at: datetime
    state: OptInState = OptInState.PENDING
    absent_since: datetime | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None

    def __post_init__(self) -> None:
        _check_aware(self.expire_at)

    @property
    def expired_after(self) -> datetime:
        """A poll later than this decides, whatever it finds."""
        return self.expire_at + EXPIRY_GRACE


def after_poll(opt_in: OptIn, *, at: datetime, pending: bool, subscribed: bool) -> OptIn:
    """Fold one poll into a person's state.

    `at` is the moment at which the poll was *begun* (aware), `pending` and `subscribed` what it found.
    - On the list: confirmed, also after the expiry, also while still shown as pending.
    - Later than `expire_at` + 60 s and not on the list: expired.
    - Two polls before `expire_at`, at least 30 s apart, that found neither: declined. To be seen pending
      between them starts the count again.
    A decision is final: later polls change nothing.
    """
    _check_aware(at)
    if opt_in.state is not OptInState.PENDING:
        return opt_in
    if subscribed:
        return replace(opt_in, state=OptInState.CONFIRMED)
    if at > opt_in.expired_after:
        return replace(opt_in, state=OptInState.EXPIRED)
    since = opt_in.absent_since
    if pending:
        # A late answer about an earlier moment does not undo a newer absence.
        return opt_in if since is None or at < since else replace(opt_in, absent_since=None)
    if at >= opt_in.expire_at:
        return opt_in
    if since is None:
        return replace(opt_in, absent_since=at)
    return replace(opt_in, state=OptInState.DECLINED) if at - since >= ABSENCE else opt_in


def read_min_confirmed(value: object) -> int | float | None:
    """How many confirmations are enough: a number of people, a share of them, or None for "wait for all".

    A whole number from 1 counts people; a fraction above 0 and up to 1.0 is a share. Text is read as Jinja
    leaves it: "" and "None" are None, "1" is one person, "1.0" is everybody.
    """
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    number: object = value
    if isinstance(value, str):
        try:
            number = float(value) if "." in value else int(value)
        except ValueError:
            number = None
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
        return number
    if isinstance(number, float) and 0 < number <= 1:
        return number
    remedy = "give a number of people (1 or more), a share such as 0.8, or None to wait for everybody"
    raise InvalidInput("min_confirmed", value, remedy)


def confirmations_needed(min_confirmed: int | float | None, people: int) -> int | None:
    """So many of these people make it enough; None: it takes a decision of everybody."""
    if isinstance(min_confirmed, float):
        # 0.07 * 100 is a little more than 7: rounded first, or it would take 8.
        return math.ceil(round(min_confirmed * people, 6))
    return min_confirmed


def _check_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError("a time without zone: every time here is aware UTC")
