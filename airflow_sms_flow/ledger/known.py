"""What the ledger knows of a whole dispatch, read once: nine bytes a number, never a query per person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.ledger.schema import deliveries

_STATES = tuple(DeliveryState)
_SETTLED = 0x80
_ABSENT = 0x7F
LEAD_PREFIX = "lead:"


def recipient_key(phone: str) -> int:
    """A number or `lead:<id>` as one integer: E.164 has at most 15 digits, leads go below zero."""
    if phone.startswith(LEAD_PREFIX):
        return -int(phone[len(LEAD_PREFIX) :])
    return int(phone)


@dataclass(frozen=True)
class Known:
    """The rows of one dispatch as they stood at one moment."""

    keys: np.ndarray  #: int64, ascending
    codes: np.ndarray  #: uint8: index into the states, plus a bit for "a later try leaves it alone"
    other_fingerprints: int  #: settled rows that carry another message's fingerprint

    def look_up(self, phones: Sequence[str]) -> list[tuple[DeliveryState | None, bool]]:
        """For each number: its state (None: no row) and whether it is settled."""
        wanted = np.fromiter((recipient_key(phone) for phone in phones), np.int64, len(phones))
        if not len(self.keys):
            return [(None, False)] * len(phones)
        places = np.searchsorted(self.keys, wanted)
        places[places == len(self.keys)] = 0
        codes = np.where(self.keys[places] == wanted, self.codes[places], _ABSENT)
        return [_decode(int(code)) for code in codes]

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
    except what is in doubt or was refused for good."""
    query = select(
        deliveries.c.phone, deliveries.c.state, deliveries.c.reason, deliveries.c.updated_at
    ).where(deliveries.c.dispatch_id == dispatch_id)
    if ask_again_before is None:
        # A million datetimes that nobody reads would cost more than the rest together.
        query = query.with_only_columns(deliveries.c.phone, deliveries.c.state, deliveries.c.reason)
    keys, codes = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
    result = connection.execution_options(stream_results=True).execute(query)
    for part in result.partitions(50_000):
        keys.append(np.fromiter((recipient_key(row[0]) for row in part), np.int64, len(part)))
        codes.append(np.fromiter(_codes(part, ask_again_before), np.uint8, len(part)))
    all_keys, all_codes = np.concatenate(keys), np.concatenate(codes)
    order = np.argsort(all_keys)
    other = select(func.count()).where(
        deliveries.c.dispatch_id == dispatch_id,
        deliveries.c.fingerprint != fingerprint,
        deliveries.c.state == DeliveryState.ACCEPTED.value,
    )
    return Known(all_keys[order], all_codes[order], connection.execute(other).scalar_one())


def _codes(rows: Iterable[Sequence[object]], ask_again_before: datetime | None) -> Iterable[int]:
    known: dict[tuple[object, object], int] = {}
    for row in rows:
        pair = (row[1], row[2])
        code = known.get(pair)
        if code is None:
            state = DeliveryState(str(row[1]))
            reason = str(row[2]) if row[2] is not None else None
            code = known[pair] = _STATES.index(state) | (_SETTLED if is_settled(state, reason) else 0)
        if ask_again_before is not None and row[3] < ask_again_before and _may_be_asked_again(code):  # type: ignore[operator]  # a datetime by the query above
            code &= ~_SETTLED
        yield code


def _may_be_asked_again(code: int) -> bool:
    return _STATES[code & ~_SETTLED] in (DeliveryState.ACCEPTED, DeliveryState.ALREADY)
