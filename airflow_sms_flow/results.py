"""What a step came to, person by person: the results file, the audiences for the next task, the report.

Everything is read from the ledger for the whole audience, whichever try or run did the work, so that a
retried or cleared task loses nobody. Nothing here grows with the audience but the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.report import Tally
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.known import LEAD_PREFIX
from airflow_sms_flow.ledger.ledger import DeliveryRow

_AT = pa.timestamp("us", tz="UTC")
_RESULT_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("phone", pa.string()),
    pa.field("state", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("event_id", pa.string()),
    pa.field("at", _AT),
]
RESULTS_SCHEMA = pa.schema(_RESULT_FIELDS)
EXPIRE_DATE = pa.field("expire_date", _AT)

#: Picks the people of one audience by how their delivery stands.
Pick = Callable[[DeliveryRow], bool]


@dataclass(frozen=True)
class Outcomes:
    """One batch of the audience beside what the ledger says of each row of it (None: nothing)."""

    batch: pa.RecordBatch
    phones: list[str]
    rows: list[DeliveryRow | None]


def read_outcomes(
    ledger: Ledger, dispatch_id: int, batches: Iterable[tuple[pa.RecordBatch, list[str]]]
) -> Iterator[Outcomes]:
    """Join each batch (with its recipients' keys) to the ledger."""
    for batch, phones in batches:
        found = ledger.rows(dispatch_id, phones)
        yield Outcomes(batch, phones, [found.get(phone) for phone in phones])


def result_batches(outcomes: Iterable[Outcomes], tally: Tally, claimer_id: str) -> Iterator[pa.RecordBatch]:
    """The results file, row by row as the audience stands; counts each person into `tally`."""
    for part in outcomes:
        for row in part.rows:
            by_this_try = row is not None and row.claimer_id == claimer_id
            tally.add(row.state if row else None, row.reason if row else None, by_this_try=by_this_try)
        yield _results(part)


def _results(part: Outcomes) -> pa.RecordBatch:
    rows = part.rows
    states = [row.state.value if row else DeliveryState.OPEN.value for row in rows]
    return pa.record_batch(
        [
            part.batch.column("id").cast(pa.int64()),
            pa.array([None if p.startswith(LEAD_PREFIX) else p for p in part.phones], pa.string()),
            pa.array(states, pa.string()),
            pa.array([row.reason if row else "not_reached" for row in rows], pa.string()),
            pa.array([row.event_id if row else None for row in rows], pa.string()),
            pa.array([row.updated_at if row else None for row in rows], _AT),
        ],
        schema=RESULTS_SCHEMA,
    )


def skipped_batches(batches: Iterable[pa.RecordBatch], reason: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """A results file in which everybody was skipped for one reason; the ledger is not asked."""
    for batch in batches:
        n = batch.num_rows
        for _ in range(n):
            tally.add(DeliveryState.SKIPPED, reason, by_this_try=True)
        phone = batch.column("phone") if "phone" in batch.schema.names else pa.nulls(n, pa.string())
        yield pa.record_batch(
            [
                batch.column("id").cast(pa.int64()),
                phone.cast(pa.string()),
                pa.array([DeliveryState.SKIPPED.value] * n, pa.string()),
                pa.array([reason] * n, pa.string()),
                pa.nulls(n, pa.string()),
                pa.nulls(n, _AT),
            ],
            schema=RESULTS_SCHEMA,
        )


def picked_batches(
    outcomes: Iterable[Outcomes], pick: Pick, *, with_expire_date: bool = False
) -> Iterator[pa.RecordBatch]:
    """The audience rows that `pick` takes, all their columns kept; `expire_date` added where asked for."""
    for part in outcomes:
        taken = [row is not None and pick(row) for row in part.rows]
        batch = part.batch.filter(pa.array(taken, pa.bool_()))
        if with_expire_date:
            dates: list[datetime | None] = [
                row.expire_at for row, take in zip(part.rows, taken, strict=True) if take and row is not None
            ]
            batch = _add_expire_date(batch, dates)
        yield batch


def with_expire_date(schema: pa.Schema) -> pa.Schema:
    """The schema of a pending audience: `expire_date` at its end, in place of an older one."""
    place = schema.get_field_index(EXPIRE_DATE.name)
    return (schema if place < 0 else schema.remove(place)).append(EXPIRE_DATE)


def _add_expire_date(batch: pa.RecordBatch, dates: list[datetime | None]) -> pa.RecordBatch:
    schema = with_expire_date(batch.schema)
    columns = [batch.column(name) for name in schema.names[:-1]]
    return pa.record_batch([*columns, pa.array(dates, EXPIRE_DATE.type)], schema=schema)
