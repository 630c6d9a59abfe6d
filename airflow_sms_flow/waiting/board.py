"""Where each person of a pending audience stands, in seventeen bytes each: a triggerer holds thousands of
these boards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.opt_in import USUAL_WINDOW, OptIn, OptInState
from airflow_sms_flow.core.opt_in_wait import LookPlan, standing
from airflow_sms_flow.ledger.opt_in_looks import Known, OptInLooks
from airflow_sms_flow.storage import read_batches, read_schema

_BATCH = 10_000
_STATES = tuple(OptInState)
_OPEN = _STATES.index(OptInState.PENDING)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Enrol = Callable[[Mapping[str, OptIn]], None]


@dataclass(slots=True)
class OptInBoard:
    """The audience's numbers, sorted, and beside each when the question ends and how it stands."""

    numbers: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.int64]  #: microseconds since 1970
    states: npt.NDArray[np.uint8]
    #: When a callback last told of one of these questions, as the event's own time.
    told_at: datetime | None = None

    @classmethod
    def load(cls, path: str, looks: OptInLooks, at: datetime, plan: LookPlan, enrol: Enrol) -> OptInBoard:
        """Read file and ledger; `enrol` is given those whom nobody looks at in time. Raises `InvalidInput`
        for a file that is no pending audience."""
        check_pending_columns(path)
        too_far = at + timedelta(seconds=2 * plan.longest(told=True))
        pieces: list[tuple[npt.NDArray[np.uint64], list[int], list[int]]] = []
        told: list[datetime] = []
        for batch in read_batches(path, ("phone", "expire_date"), _BATCH):
            column: Any = batch.column("phone")
            phones: list[str] = column.to_pylist()
            known = looks.read(phones)
            told += [row.told_at for row in known.values() if row.told_at is not None]
            people = {
                phone: _where_it_stands(known.get(phone), expire_at, at)
                for phone, expire_at in zip(phones, _utc_times(batch.column("expire_date")), strict=True)
            }
            enrol(
                {
                    phone: opt_in
                    for phone, opt_in in people.items()
                    if opt_in.state is OptInState.PENDING
                    and not _is_attended(known.get(phone), opt_in, too_far)
                }
            )
            ends = [_micros(opt_in.expire_at) for opt_in in people.values()]
            states = [_STATES.index(opt_in.state) for opt_in in people.values()]
            pieces.append((_as_numbers(column), ends, states))
            told = [max(told)] if told else []
        return cls._sorted(pieces, max(told, default=None))

    @classmethod
    def empty(cls) -> OptInBoard:
        """Of an audience without people."""
        return cls._sorted([], None)

    @classmethod
    def _sorted(cls, pieces: list[Any], told_at: datetime | None) -> OptInBoard:
        columns = zip(*pieces, strict=True) if pieces else ([[]], [[]], [[]])
        numbers, ends, states = (np.concatenate([np.asarray(one) for one in column]) for column in columns)
        order = np.argsort(numbers)
        return cls(
            numbers[order].astype(np.uint64),
            ends[order].astype(np.int64),
            states[order].astype(np.uint8),
            told_at,
        )

    def counts(self) -> dict[str, int]:
        """People by state; every state is there."""
        found = np.bincount(self.states, minlength=len(_STATES))
        return {state.value: int(found[code]) for code, state in enumerate(_STATES)}

    def apply(self, changed: Mapping[str, OptIn], at: datetime) -> None:
        """What the ledger or a look says now of these people; who is not of this audience is passed over."""
        if not changed:
            return
        phones = pa.array(list(changed), pa.string())
        places = np.searchsorted(self.numbers, numbers := _as_numbers(phones))
        for phone, number, place in zip(changed, numbers, places, strict=True):
            if place == len(self.numbers) or self.numbers[place] != number or self.states[place] != _OPEN:
                continue
            opt_in = standing(changed[phone], _EPOCH + int(self.ends[place]) * _MICROSECOND, at)
            self.ends[place], self.states[place] = _micros(opt_in.expire_at), _STATES.index(opt_in.state)

    def is_in(self, phones: pa.Array[Any], state: OptInState) -> pa.Array[Any]:
        """For each of these numbers, all of this audience, whether they stand so."""
        codes = self.states[np.searchsorted(self.numbers, _as_numbers(phones))]
        return pa.array(codes == _STATES.index(state), pa.bool_())


def check_pending_columns(path: str) -> None:
    """Raise `InvalidInput` unless this file has what Subscribe's pending audience has."""
    schema = read_schema(path)
    missing = [name for name in ("phone", "expire_date") if name not in schema.names]
    if missing:
        remedy = (
            f"has no column {', '.join(missing)}: pass what Subscribe pushed, `subscribe.output['pending']`"
        )
        raise InvalidInput("audience", path, remedy)
    kind = schema.field("expire_date").type
    if not pa.types.is_timestamp(kind):
        remedy = f"holds {kind} in expire_date, not times: pass what Subscribe pushed"
        raise InvalidInput("audience", path, remedy)


def _where_it_stands(known: Known | None, expire_at: datetime | None, at: datetime) -> OptIn:
    stored = known.opt_in if known is not None else None
    if expire_at is not None:
        return standing(stored, expire_at, at)
    # The file does not say which question it means. One that was over a day ago is an older one.
    if stored is not None and stored.expire_at > at - USUAL_WINDOW:
        return stored
    return OptIn(at + USUAL_WINDOW)


def _is_attended(known: Known | None, opt_in: OptIn, too_far: datetime) -> bool:
    """The ledger has a row about this question, and a look at it lies ahead, at a time that may be."""
    if known is None or known.opt_in.expire_at != opt_in.expire_at:
        return False
    return known.look_at is not None and known.look_at <= too_far


def _as_numbers(phones: Any) -> npt.NDArray[np.uint64]:
    """E.164 texts as whole numbers; a prepared file holds nothing else."""
    found: npt.NDArray[np.uint64] = pc.cast(pc.utf8_slice_codeunits(phones, 1), pa.uint64()).to_numpy(
        zero_copy_only=False
    )
    return found


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _utc_times(column: Any) -> list[datetime | None]:
    """Times as Python has them, in UTC; a time without zone is UTC, as everywhere in our files."""
    times: list[datetime | None] = pc.cast(column, pa.timestamp("us", tz="UTC"), safe=False).to_pylist()
    return [None if time is None else time.astimezone(UTC) for time in times]
