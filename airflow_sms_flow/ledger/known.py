"""What the ledger knows of a whole dispatch, read once: nine bytes a number, never a query per person."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import false, func, select, text
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.core.errors import InvalidInput, LedgerError
from airflow_sms_flow.ledger.schema import deliveries

_STATES = tuple(DeliveryState)
_SETTLED = 0x80
_ABSENT = 0x7F
_NO_KEY = np.iinfo(np.int64).min
LEAD_PREFIX = "lead:"


def recipient_key(phone: str) -> int:
    """A number or `lead:<id>` as one integer: E.164 has at most 15 digits, leads go below zero."""
    if phone.startswith(LEAD_PREFIX):
        return -int(phone[len(LEAD_PREFIX) :])
    return int(phone)


def recipient_keys(phones: Sequence[str]) -> np.ndarray:
    """The same of many, as int64. Raises `InvalidInput` for anything else, and does not repeat it: it may be
    somebody's number."""
    with suppress(ValueError, OverflowError):  # somebody has no number
        return np.fromiter(map(int, phones), np.int64, len(phones))
    try:
        return np.fromiter(map(recipient_key, phones), np.int64, len(phones))
    except (ValueError, OverflowError):
        remedy = "holds something that is neither a number in E.164 nor a lead; prepare the audience again"
        raise InvalidInput("audience", "phone", remedy) from None


class FirstSeen:
    """Of numbers that come in batches: which are new. Eight bytes each, where a set takes a hundred."""

    def __init__(self) -> None:
        self._seen = np.empty(0, np.int64)

    def __call__(self, phones: Sequence[str]) -> np.ndarray:
        keys = recipient_keys(phones)
        is_new = np.zeros(len(keys), bool)
        is_new[np.unique(keys, return_index=True)[1]] = True
        places = np.searchsorted(self._seen, keys)
        is_new &= np.append(self._seen, _NO_KEY)[places] != keys
        new = np.sort(keys[is_new])
        self._seen = np.insert(self._seen, np.searchsorted(self._seen, new), new)
        return is_new


@dataclass(frozen=True)
class Known:
    """The rows of one dispatch as they stood at one moment."""

    keys: np.ndarray  #: int64, ascending
    codes: np.ndarray  #: uint8: index into the states, plus a bit for "a later try leaves it alone"
    other_fingerprints: int  #: settled rows that carry another message's fingerprint

    def look_up(self, phones: Sequence[str]) -> list[tuple[DeliveryState | None, bool]]:
        """For each number: its state (None: no row) and whether it is settled."""
        return [_decode(int(code)) for code in self._codes_of(phones)]

    def settled(self, phones: Sequence[str]) -> np.ndarray:
        """For each number: whether it is settled. A million take a fraction of a second."""
        return self._codes_of(phones) >= _SETTLED

    def _codes_of(self, phones: Sequence[str]) -> np.ndarray:
        wanted = recipient_keys(phones)
        if not len(self.keys):
            return np.full(len(wanted), _ABSENT, np.uint8)
        places = np.searchsorted(self.keys, wanted)
        places[places == len(self.keys)] = 0
        codes: np.ndarray = np.where(self.keys[places] == wanted, self.codes[places], np.uint8(_ABSENT))
        return codes

    def __len__(self) -> int:
        return len(self.keys)


def _decode(code: int) -> tuple[DeliveryState | None, bool]:
    if code == _ABSENT:
        return None, False
    return _STATES[code & ~_SETTLED], bool(code & _SETTLED)


def read_known(
    connection: Connection, dispatch_id: int, fingerprint: str, ask_again_before: datetime | None = None
) -> Known:
    """One pass over the dispatch. Rows settled before `ask_again_before` count as not settled any more,
    except what is in doubt or was refused for good.

    The database hands over one long text of numbers per kind of row: a million rows of their own would take
    longer than all the rest.
    """
    is_old = deliveries.c.updated_at < ask_again_before if ask_again_before is not None else false()
    query = (
        select(
            deliveries.c.state,
            deliveries.c.reason,
            (deliveries.c.fingerprint != fingerprint).label("is_other"),
            is_old.label("is_old"),
            func.count().label("rows"),
            func.aggregate_strings(deliveries.c.phone, ",").label("phones"),
        )
        .where(deliveries.c.dispatch_id == dispatch_id)
        .group_by("state", "reason", "is_other", "is_old")
    )
    if connection.dialect.name == "postgresql":  # enough to gather the texts without sorting rows on disk
        connection.execute(text("SET LOCAL work_mem = '64MB'"))
    keys, codes, others = [np.empty(0, np.int64)], [np.empty(0, np.uint8)], 0
    for kind in connection.execute(query):
        state = DeliveryState(kind.state)
        others += kind.rows if kind.is_other and state is DeliveryState.ACCEPTED else 0
        keys.append(_parse_keys(kind.phones, kind.rows))
        codes.append(np.full(kind.rows, _code(state, kind.reason, is_old=kind.is_old), np.uint8))
    all_keys, all_codes = np.concatenate(keys), np.concatenate(codes)
    order = np.argsort(all_keys)
    return Known(all_keys[order], all_codes[order], others)


def _parse_keys(phones: str, rows: int) -> np.ndarray:
    """Keys of numbers and leads, separated by commas; see `recipient_key`."""
    try:
        keys = np.fromstring(phones.replace(LEAD_PREFIX, "-"), np.int64, sep=",")
    except ValueError:
        keys = np.empty(0, np.int64)  # older versions of numpy return what they could read
    if len(keys) != rows or keys.max() == np.iinfo(np.int64).max:  # never guess at who was reached
        raise LedgerError("the ledger holds something that is neither a number nor a lead: nothing is sent")
    return keys


def _code(state: DeliveryState, reason: str | None, *, is_old: bool) -> int:
    return _STATES.index(state) | (_SETTLED if is_settled(state, reason, is_old=is_old) else 0)
