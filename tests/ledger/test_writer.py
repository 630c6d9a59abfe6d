"""Group commit: nobody is told of a move that is not on disk, everybody is told of a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import Engine

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.deliveries import Move, Outcome
from airflow_sms_flow.ledger.writer import Writer
from tests.ledger.moves import CAMPAIGN, TEXT, A, B, C, Sender, claim, path_of, settle

ACCEPTED, CLAIMED = DeliveryState.ACCEPTED, DeliveryState.CLAIMED


@pytest.fixture
def impatient(sqlite_ledger: Ledger, sqlite_address: str) -> Iterator[Ledger]:
    """The same ledger with a short busy time."""
    opened = Ledger.open(sqlite_address, busy_seconds=0.1)
    yield opened
    opened.close()


@pytest.fixture
def elsewhere(sqlite_ledger: Ledger, sqlite_address: str) -> Iterator[Engine]:
    """Somebody else's connection to the ledger; a transaction on it holds the write lock."""
    engine = database.create_ledger_engine(sqlite_address)
    yield engine
    engine.dispose()


def test_many_threads_write_in_few_transactions(ledger: Ledger) -> None:
    """Each hears of its own move, once it is on disk."""
    sender = Sender(ledger)
    numbers = [f"+1202555{n:04}" for n in range(200)]
    with ledger.writer(CAMPAIGN, TEXT, sender.id) as writer, ThreadPoolExecutor(40) as pool:

        def send(phone: str) -> Outcome:
            assert writer.write(claim(phone, phone)).moved
            assert sender.state(phone) is CLAIMED, "told before it was on disk"
            return writer.write(settle(phone, ACCEPTED, phone))

        assert all(outcome == Outcome(True, ACCEPTED, None) for outcome in pool.map(send, numbers))
    assert {row.state for row in ledger.rows(sender.dispatch_id, numbers).values()} == {ACCEPTED}


def test_two_moves_of_one_number_in_one_batch_keep_their_order(ledger: Ledger) -> None:
    """Written in two rounds of one transaction."""
    sender = Sender(ledger)
    with ledger.writer(CAMPAIGN, TEXT, sender.id) as writer, ThreadPoolExecutor(2) as pool:
        first = pool.submit(writer.write, claim(A, "1"))
        time.sleep(0.001)
        second = pool.submit(writer.write, settle(A, ACCEPTED, "1"))
        assert (first.result().moved, second.result().moved) == (True, True)
    assert path_of(ledger, A) == [CLAIMED, ACCEPTED]


def test_a_failure_reaches_everybody_who_waits(impatient: Ledger, elsewhere: Engine) -> None:
    """Whoever asked for a claim must not send; later claims are refused at once."""
    sender = Sender(impatient)
    with impatient.writer(CAMPAIGN, TEXT, sender.id) as writer, ThreadPoolExecutor(8) as pool:
        with elsewhere.begin():
            waiting = [pool.submit(writer.write, claim(f"+120255500{n:02}", str(n))) for n in range(8)]
            errors = [future.exception(5) for future in waiting]
        assert {type(error) for error in errors} == {LedgerError}
        with pytest.raises(LedgerError, match="database is locked"):
            writer.write(claim(A, "later"))
    assert sender.state(A) is None


def test_answers_that_are_in_are_still_written_after_a_failure(impatient: Ledger, elsewhere: Engine) -> None:
    """A lock that passes must not leave people in doubt who were answered."""
    sender = Sender(impatient)
    with impatient.writer(CAMPAIGN, TEXT, sender.id) as writer:
        writer.write(claim(A, "1"))
        writer.write(claim(B, "2"))
        with elsewhere.begin():
            with pytest.raises(LedgerError):
                writer.write(claim(C, "3"))
            with pytest.raises(LedgerError):
                writer.write(settle(A, ACCEPTED, "1"))
        assert writer.write(settle(B, ACCEPTED, "2")).moved
        with pytest.raises(LedgerError):
            writer.write(claim(C, "3"))
    assert (sender.state(A), sender.state(B), sender.state(C)) == (CLAIMED, ACCEPTED, None)


def test_an_answer_in_the_failing_batch_is_tried_once_more(impatient: Ledger, elsewhere: Engine) -> None:
    """The lock may pass just then; the claims of that batch are refused all the same."""
    sender = Sender(impatient)
    with impatient.writer(CAMPAIGN, TEXT, sender.id) as writer, ThreadPoolExecutor(1) as pool:
        writer.write(claim(A, "1"))
        with elsewhere.begin():
            waiting = pool.submit(writer.write, settle(A, ACCEPTED, "1"))
            time.sleep(0.15)  # past the first attempt, before the end of the second
        assert waiting.result().moved


def test_closing_waits_for_what_was_asked_for(ledger: Ledger) -> None:
    """A move that was handed in is made; one that comes too late is an error, never a silence."""
    sender = Sender(ledger)
    writer = ledger.writer(CAMPAIGN, TEXT, sender.id)
    results: list[Outcome | BaseException] = []
    with writer as open_writer:

        def write(n: int) -> None:
            try:
                results.append(open_writer.write(claim(f"+120255500{n:02}", str(n))))
            except LedgerError as error:
                results.append(error)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(5)
    assert len(results) == 20
    made = [one for one in results if isinstance(one, Outcome)]
    rows = ledger.rows(sender.dispatch_id, [f"+120255500{n:02}" for n in range(20)])
    assert len(rows) == len(made)
    with pytest.raises(LedgerError, match="closed already"):
        open_writer.write(claim(A, "late"))


def test_a_vanished_ledger_stops_the_writer(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    """Before the next request, saying so."""
    sender = Sender(sqlite_ledger)
    with sqlite_ledger.writer(CAMPAIGN, TEXT, sender.id) as writer:
        writer.write(claim(A, "1"))
        for file in (tmp_path / "ledger").iterdir():
            file.unlink()
        with pytest.raises(LedgerError, match="deleted or replaced"):
            writer.write(claim(B, "2"))


def _sessions_end(address: str) -> None:
    """As when the server is restarted: every connection to this database is gone."""
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_broken_connection_stops_the_claims_and_spares_the_answers(postgres_address: str) -> None:
    """Whether the last commit arrived cannot be known; answers are written through a new connection."""
    ledger = Ledger.open(postgres_address)
    sender = Sender(ledger)
    with ledger.writer(CAMPAIGN, TEXT, sender.id) as writer:
        writer.write(claim(A, "1"))
        _sessions_end(postgres_address)
        with pytest.raises(LedgerError):
            writer.write(claim(B, "2"))
        assert writer.write(settle(A, ACCEPTED, "1")).moved
    assert (sender.state(A), sender.state(B)) == (ACCEPTED, None)
    ledger.close()


def test_a_restart_while_nothing_is_written_goes_unnoticed(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection without work is given back; whether the next one lives is asked first."""
    monkeypatch.setattr("airflow_sms_flow.ledger.writer._IDLE_SECONDS", 0.1)
    ledger = Ledger.open(postgres_address)
    sender = Sender(ledger)
    with ledger.writer(CAMPAIGN, TEXT, sender.id) as writer:
        writer.write(claim(A, "1"))
        time.sleep(0.5)
        _sessions_end(postgres_address)
        assert writer.write(claim(B, "2")).moved
    ledger.close()


class _Odd(str):
    """A text that breaks in an unexpected place, with a number in its error."""

    def __getitem__(self, _: object) -> str:
        raise KeyError("+12025550132")


def test_an_error_that_nobody_foresaw_shows_no_number(sqlite_ledger: Ledger) -> None:
    """Its own text may hold one: only its kind is told, and the waiting thread hears of it."""
    sender = Sender(sqlite_ledger)
    with (
        sqlite_ledger.writer(CAMPAIGN, TEXT, sender.id) as writer,
        pytest.raises(LedgerError, match=r"the ledger failed: KeyError$") as caught,
    ):
        writer.write(Move(A, DeliveryState.REFUSED, _Odd("odd")))
    assert "2025550132" not in str(caught.value)


def test_a_writer_may_be_used_by_itself(sqlite_ledger: Ledger) -> None:
    """`Ledger.writer` is only a shortcut."""
    with sqlite_ledger.writer(CAMPAIGN, TEXT, Sender(sqlite_ledger).id) as writer:
        assert isinstance(writer, Writer)
