"""The inbox: every callback once, none lost, none that blocks the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, text, update

from airflow_sms_flow.core.callbacks import Callback
from airflow_sms_flow.core.facts import Joined
from airflow_sms_flow.ledger import Heard, Ledger, RawCallback, hearing
from airflow_sms_flow.ledger.schema import callbacks
from tests.ledger.callbacks import COMPANY, LIST, T, hear, joined, left, raw
from tests.ledger.moves import A, B, C


def _outcomes(engine: Engine) -> dict[str, int]:
    query = select(callbacks.c.outcome, func.count().label("rows")).group_by(callbacks.c.outcome)
    with engine.connect() as connection:
        return {row.outcome: row.rows for row in connection.execute(query)}


def test_a_callback_is_stored_once(ledger: Ledger) -> None:
    """At least once is what Vibes promises; within one group as well as later."""
    one, other = raw(joined(A, 1)), raw(joined(B, 1))
    assert ledger.store_callbacks([one, other, one]) == 2
    assert ledger.store_callbacks([other, one]) == 0
    assert ledger.store_callbacks([]) == 0
    assert (ledger.unheard_callbacks(), ledger.has_unheard()) == (2, True)
    assert ledger.hear() == Heard(2, 2, 0)
    assert ledger.store_callbacks([one]) == 0
    assert (ledger.unheard_callbacks(), ledger.has_unheard()) == (0, False)


def test_headers_and_source_are_kept_whatever_they_are(ledger: Ledger, engine: Engine) -> None:
    """Nothing that a stranger sends may make storing fail: then Vibes would send it for ever."""
    strange = RawCallback(COMPANY, T, "x" * 500, {"a\x00b": "\ud800é", "c": "\n"}, b"\x00\xff", "key")
    assert ledger.store_callbacks([strange]) == 1
    with engine.connect() as connection:
        row = connection.execute(select(callbacks)).one()
    assert (row.body, len(row.source), row.received_at) == (b"\x00\xff", 64, T)
    assert ledger.hear() == Heard(1, 0, 0)
    assert _outcomes(engine) == {"unreadable": 1}


def test_hearing_goes_in_batches_oldest_first(ledger: Ledger) -> None:
    """`left` says when to go on."""
    ledger.store_callbacks([raw(joined(f"+1202555{n:04}", 1)) for n in range(100, 105)])
    assert ledger.hear(2) == Heard(2, 2, 3)
    assert ledger.hear_all() == Heard(3, 3, 0)
    assert ledger.hear_all() == ledger.hear() == Heard(0, 0, 0)


def test_what_is_stored_together_is_heard_in_the_order_of_arrival(ledger: Ledger, engine: Engine) -> None:
    """Whatever the vendor calls it: somebody who came, left and came again was new twice."""
    names = ["CB9", "CB10", "CB1", "CB2", "AA", "ZZ"]
    ledger.store_callbacks([raw(joined(A, n) | {"event_id": name}) for n, name in enumerate(names)])
    query = select(callbacks.c.dedupe_key).order_by(callbacks.c.id)
    with engine.connect() as connection:
        assert [key.split(":")[1] for key in connection.execute(query).scalars()] == names


def test_what_is_unknown_or_unreadable_is_kept_and_marked(ledger: Ledger, engine: Engine) -> None:
    """And never looked at again."""
    strange = {"event_id": "1", "callback_type": "wallet_item_install"}
    assert hear(ledger, b"no json", strange, joined(A, 2), joined(A, 1)) == Heard(4, 1, 0)
    assert _outcomes(engine) == {"unreadable": 1, "unknown_type": 1, "applied": 1, "nothing_new": 1}


def test_what_is_unreadable_is_told_once_a_hearing_without_a_number(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """An opt-out may be among them: how many, of which kinds, and where to look. Nor is a caller quoted."""
    nameless = left(A, 1)
    nameless["subscription"]["person"] = {"external_person_id": "42", "phone": A}
    odd = {"event_type": f"call {B}", "callback_type": "subscription_added", "subscription": {"id": C}}
    assert hear(ledger, joined(A, 0), nameless, b"no json", odd, nameless | {"event_id": "again"}).read == 5
    (told,) = [one.getMessage() for one in caplog.records if one.name == hearing.__name__]
    assert told.startswith(
        "4 callback(s) are kept but cannot be read "
        "(subscription_removed: 2, no JSON object: 1, subscription_added: 1); the first is row 2 of"
    )
    assert not [number for number in (A, B, C) if number[2:] in caplog.text]
    caplog.clear()
    hear(ledger, joined(B, 0))
    assert "cannot be read" not in caplog.text


def test_a_poisoned_row_does_not_block_the_others(
    ledger: Ledger, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever value our own code or the database cannot take: that row alone is marked as unreadable."""
    real = hearing.read_callback

    def read(body: bytes, received_at: datetime) -> Callback:
        if b"poison" in body:
            raise OverflowError
        found = real(body, received_at)
        if b"endless" in body:  # PostgreSQL refuses the text, SQLite the number
            fact = Joined(LIST, "+1" * 100 if engine.name == "postgresql" else 2**70, T)  # type: ignore[arg-type]  # that is the poison
            return replace(found, facts=(fact,))
        return found

    monkeypatch.setattr(hearing, "read_callback", read)
    bad = [joined(B, 1) | {"x": "poison"}, joined(B, 1) | {"x": "endless"}]
    assert hear(ledger, joined(A, 1), *bad, joined(C, 1)) == Heard(4, 2, 0)
    assert ledger.members(COMPANY, LIST, [A, B, C]).keys() == {A, C}
    assert _outcomes(engine) == {"applied": 2, "unreadable": 2}
    assert "OverflowError: " in caplog.text


def test_old_callbacks_that_were_heard_are_forgotten(ledger: Ledger, engine: Engine) -> None:
    """They hold numbers and texts; who is on the list, and who left, stays for ever."""
    hear(ledger, joined(A, 1), left(B, 1))
    ledger.store_callbacks([raw(joined(C, 1))])
    with engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(days=100)
        connection.execute(update(callbacks).values(received_at=old))
        when = old if engine.name != "sqlite" else old.replace(tzinfo=None).isoformat(" ")
        connection.execute(text("UPDATE sms_flow_changes SET noted_at = :old"), {"old": when})
    assert ledger.prune(history_days=90, rows_days=90) == (4, 0)
    assert ledger.unheard_callbacks() == 1
    assert ledger.members(COMPANY, LIST, [A, B]).keys() == {A, B}
    assert B in ledger.opt_outs(COMPANY, LIST)
