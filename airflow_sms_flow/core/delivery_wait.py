"""How a wait for delivery receipts goes: what is enough, how long at most, when to look next."""

from __future__ import annotations

from datetime import timedelta

from airflow_sms_flow.core.errors import InvalidInput

#: Looks at the ledger are at most so far apart.
LONGEST_PAUSE_SECONDS = 300.0
_GROWTH = 1.5
#: A look at a campaign of a million texts takes seconds of the database: at most this share of the time.
_SHARE_OF_TIME = 0.05


def read_min_final(value: object) -> float:
    """A share of the messages, from 0 to 1; also as text, since Jinja makes text of a Param."""
    remedy = "a share of the messages from 0 to 1: 95 per cent is 0.95"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput("min_final", value, remedy)
    try:
        share = float(value)
    except ValueError:
        raise InvalidInput("min_final", value, remedy) from None
    if not 0 <= share <= 1:  # also what is no number at all
        raise InvalidInput("min_final", value, remedy)
    return share


def read_wait_at_most(value: object) -> timedelta:
    """A time above 0: a timedelta, or seconds, also as text."""
    remedy = "a time such as timedelta(hours=6), or seconds; 0 would be no wait"
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            found = timedelta(seconds=float(value))
        except (ValueError, OverflowError):  # also nan and inf
            raise InvalidInput("wait_at_most", value, remedy) from None
    else:
        raise InvalidInput("wait_at_most", value, remedy)
    if found <= timedelta():
        raise InvalidInput("wait_at_most", value, remedy)
    return found


def next_pause(before: float | None, first: float, look_took: float) -> float:
    """Seconds until the next look: `first` (at least 1) after the first one, then each time half as long
    again, up to five minutes (or to `first`, where that is more); longer where looking takes long."""
    first = max(1.0, first)
    grown = first if before is None else min(before * _GROWTH, max(first, LONGEST_PAUSE_SECONDS))
    return max(grown, look_took / _SHARE_OF_TIME)
