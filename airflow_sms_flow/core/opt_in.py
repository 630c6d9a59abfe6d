"""What a person's answers add up to: pending, confirmed, declined or expired.

No API says "declined" or "expired". Vibes only shows, at each poll, whether a person is pending and whether
they are on the list; this module folds those polls into a decision that errs on the side of waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

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
    """

    expire_at: datetime
    state: OptInState = OptInState.PENDING
    absent_since: datetime | None = None

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


def _check_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError("a time without zone: every time here is aware UTC")
