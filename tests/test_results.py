"""Results and audiences for the next task, read from the ledger for the whole audience."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.report import Tally
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.deliveries import Move
from airflow_sms_flow.ledger.ledger import DeliveryRow
from airflow_sms_flow.results import (
    RESULTS_SCHEMA,
    Outcomes,
    picked_batches,
    read_outcomes,
    result_batches,
    skipped_batches,
    with_expire_date,
)
from tests.ledger.moves import A, B, C, Sender

AT = datetime(2026, 7, 1, tzinfo=UTC)
AUDIENCE = pa.schema([("id", pa.int64()), ("phone", pa.string()), ("firstName", pa.string())])

rows = st.builds(
    DeliveryRow,
    st.sampled_from(DeliveryState),
    st.none() | st.sampled_from(["pending", "bad_number", "not_subscribed"]),
    st.just("e" * 32),
    st.just(AT),
    st.none() | st.just(AT),
    st.sampled_from([None, "mine", "another"]),
)


def outcomes(found: list[DeliveryRow | None]) -> Outcomes:
    """A batch with one person per row."""
    phones = [f"+1202555{n:04}" for n in range(len(found))]
    ids, names = pa.array(range(len(found)), pa.int64()), pa.array(["Ann"] * len(found), pa.string())
    batch = pa.record_batch([ids, pa.array(phones, pa.string()), names], schema=AUDIENCE)
    return Outcomes(batch, phones, found)


def is_pending(row: DeliveryRow) -> bool:
    """As the subscribe operator picks."""
    return row.state is DeliveryState.ACCEPTED and row.reason == "pending"


@given(st.lists(st.lists(st.none() | rows, max_size=6), max_size=3))
def test_the_report_adds_up_for_any_states(batches: list[list[DeliveryRow | None]]) -> None:
    """One result per person, in the order of the audience, and each is counted once."""
    tally = Tally()
    results = list(result_batches(map(outcomes, batches), tally, "mine"))
    report = tally.report("send", "summer", "1201", attempted=0)  # raises where it does not add up
    assert report.rows == sum(batch.num_rows for batch in results) == sum(map(len, batches))
    mine = [r for batch in batches for r in batch if r and r.claimer_id == "mine"]
    assert report.accepted == sum(row.state is DeliveryState.ACCEPTED for row in mine)
    for found, batch in zip(batches, results, strict=True):
        assert batch.schema == RESULTS_SCHEMA
        assert batch.column("id").to_pylist() == list(range(len(found)))
        assert batch.column("state").to_pylist() == [row.state.value if row else "open" for row in found]


@given(st.lists(st.none() | rows, max_size=8))
def test_a_pending_audience_knows_when_each_question_ends(found: list[DeliveryRow | None]) -> None:
    """`expire_date` in UTC beside every column of the audience; an older one is replaced."""
    part = outcomes(found)
    (pending,) = picked_batches([part], is_pending, with_expire_date=True)
    picked = [row for row in found if row is not None and is_pending(row)]
    assert pending.schema == with_expire_date(AUDIENCE)
    assert pending.column("expire_date").to_pylist() == [row.expire_at for row in picked]
    again = Outcomes(pending, ["+1"] * len(picked), [*picked])
    (twice,) = picked_batches([again], is_pending, with_expire_date=True)
    assert twice.equals(pending)


def test_the_next_audience_keeps_columns_and_order() -> None:
    """Only whoever is picked."""
    found = [DeliveryRow(DeliveryState.ACCEPTED, reason, "e", AT, None, None) for reason in ("pending", "x")]
    (batch,) = picked_batches([outcomes([*found, None])], is_pending)
    assert batch.to_pylist() == [{"id": 0, "phone": "+12025550000", "firstName": "Ann"}]


def test_everybody_is_joined_to_the_ledger(ledger: Ledger) -> None:
    """People who share a number share its row; a lead without a number shows none."""
    sender = Sender(ledger)
    sender.write(
        Move(A, DeliveryState.REFUSED, "asked", "bad_number"), Move("lead:9", DeliveryState.ALREADY, "asked")
    )
    phones = [A, "lead:9", B, A]
    batch = pa.record_batch([pa.array([1, 9, 3, 4]), pa.array(phones)], names=["id", "phone"])
    (part,) = read_outcomes(ledger, sender.dispatch_id, [(batch, phones)])
    (results,) = result_batches([part], Tally(), sender.id)
    assert results.column("phone").to_pylist() == [A, None, B, A]
    assert results.column("state").to_pylist() == ["refused", "already", "open", "refused"]
    assert results.column("reason").to_pylist() == ["bad_number", None, "not_reached", "bad_number"]
    assert results.column("event_id")[0].as_py() == sender.campaign.event_id(A)


def test_a_dry_run_lists_everybody_as_skipped() -> None:
    """Also raw audiences, which have no column `phone` yet."""
    tally = Tally()
    with_phone = pa.record_batch([pa.array([1, 2], pa.int32()), pa.array([A, C])], names=["id", "phone"])
    without = pa.record_batch([pa.array([3])], names=["id"])
    batches = list(skipped_batches([with_phone, without], "dry_run", tally))
    assert pa.Table.from_batches(batches).column("phone").to_pylist() == [A, C, None]
    report = tally.report("send", "summer", "1201", attempted=0)
    assert (report.rows, report.skipped) == (3, {"dry_run": 3})
