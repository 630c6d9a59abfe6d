"""Which of our texts a row of the Message Extract is about that does not carry our id.

A number is often texted by others, too: by another program of the company, or by hand in Vibes. So only what
fits one to one is taken for ours, and the rest is called what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: How long after our request Vibes may have sent the text.
_LONGEST_WAY = timedelta(hours=24)
#: Vibes' times have no fractions, and its clock and the ledger's may differ.
_SKEW = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class PastSend:
    """One of our texts to a number. `requested_at`: when requests for it left (aware UTC). `is_final`: all is
    known of it."""

    event_id: str
    requested_at: tuple[datetime, ...]
    is_final: bool

    def fits(self, at: datetime) -> bool:
        """Whether Vibes may have sent it at that time."""
        return any(-_SKEW <= at - requested <= _LONGEST_WAY for requested in self.requested_at)


class NoMatch(StrEnum):
    """Why a row is not taken for one of our texts."""

    UNKNOWN = "unknown"  #: none of ours fits
    AMBIGUOUS = "ambiguous"  #: several of ours fit, or several rows fit the one


def match(times: Sequence[datetime], sends: Sequence[PastSend]) -> list[PastSend | NoMatch]:
    """For each row of one number, by the time that it tells, the text of ours to that number.

    A text of which everything is known counts, too: the row may be about it, and must not be taken for news
    of another one.
    """
    fitting = [[send for send in sends if send.fits(at)] for at in times]
    rows_of = Counter(found[0].event_id for found in fitting if len(found) == 1)
    return [_one(found, rows_of) for found in fitting]


def _one(found: list[PastSend], rows_of: Counter[str]) -> PastSend | NoMatch:
    if not found:
        return NoMatch.UNKNOWN
    if len(found) > 1 or rows_of[found[0].event_id] > 1:
        return NoMatch.AMBIGUOUS
    return found[0]
