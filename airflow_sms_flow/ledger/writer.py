"""Group commit: one thread writes whatever the senders have waiting, in one transaction.

A sender that gets its answer from here knows that it is on disk. At 300 sends a second this costs about a
hundred commits instead of six hundred; a commit per row would be too slow for PostgreSQL at that rate.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import database
from airflow_sms_flow.ledger.deliveries import Move, Mover, Outcome, apply_moves
from airflow_sms_flow.ledger.expected_moves import move_as_expected, open_express

#: How long the writer waits for company: short beside any request, long beside a commit.
_LINGER_SECONDS = 0.005
#: With so much company already it does not wait.
_ENOUGH = 10
_MAX_BATCH = 500
#: How long the express connection is kept without work; a fresh one is asked first whether it still lives.
_IDLE_SECONDS = 5.0

_DOING = "writing claims and results"

_Job = tuple[Move, "Future[Outcome]"]


class Writer:
    """Use as a context manager. Any thread may call `write`. The first failure ends all claiming; answers
    that are in already are still worth a try."""

    def __init__(self, engine: Engine, mover: Mover) -> None:
        self._engine = engine
        self._mover = mover
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._error: LedgerError | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._clock: tuple[datetime, float] | None = None
        self._express: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="sms-flow-ledger", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._closing:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def write(self, move: Move) -> Outcome:
        """Make the move and wait until it is on disk. Raises `LedgerError`, and from then on for whatever
        is no settlement."""
        future: Future[Outcome] = Future()
        with self._closing:
            if self._error is not None and not move.is_settlement:
                raise self._error
            if self._closed:
                raise LedgerError("the ledger's writer is closed already")
            self._jobs.put((move, future))
        return future.result()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._commit(batch)
        self._close_express()

    def _first_job(self) -> _Job | None:
        try:
            return self._jobs.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            self._close_express()
            return self._jobs.get()

    def _next_batch(self) -> list[_Job] | None:
        first = self._first_job()
        if first is None:
            return None
        if self._jobs.qsize() < _ENOUGH:
            time.sleep(_LINGER_SECONDS)
        batch = [first]
        while len(batch) < _MAX_BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # keep the end for the next round
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Job]) -> None:
        if self._error is not None:
            batch = self._refuse_all_but_answers(batch, self._error)
        try:
            self._write(batch)
        except Exception as error:  # whatever it is, the senders wait for it and must hear of it
            self._close_express()
            # Only the kind of a stranger: its text may carry a number.
            told = LedgerError(f"the ledger failed: {type(error).__name__}")
            failure = error if isinstance(error, LedgerError) else told
            batch = [(move, future) for move, future in batch if not future.done()]
            if self._error is None:
                self._error = failure
                self._commit(batch)
                return
            for _, future in batch:
                future.set_exception(failure)

    def _now(self, connection: Connection) -> datetime:
        """The database's time, asked for once: to ask in every transaction would cost it a round trip."""
        if self._clock is None:
            self._clock = (database.now(connection), time.monotonic())
        then, began = self._clock
        return then + timedelta(seconds=time.monotonic() - began)

    def _refuse_all_but_answers(self, batch: list[_Job], error: LedgerError) -> list[_Job]:
        for move, future in batch:
            if not move.is_settlement:
                future.set_exception(error)
        return [(move, future) for move, future in batch if move.is_settlement]

    def _write(self, batch: list[_Job]) -> None:
        """Make all moves of the batch, and tell their senders. What moves as expected has a transaction of
        its own on PostgreSQL; the rest shares one, unless a number stands there twice."""
        if self._engine.dialect.name == "postgresql":
            batch = self._write_expected(batch)
        while batch:
            jobs, batch = _one_move_per_number(batch)
            with database.writing(self._engine, _DOING) as connection:
                moves, at = [move for move, _ in jobs], self._now(connection)
                outcomes = apply_moves(connection, self._mover, moves, at)
            for (_, future), outcome in zip(jobs, outcomes, strict=True):
                future.set_result(outcome)

    def _write_expected(self, batch: list[_Job]) -> list[_Job]:
        """Returns the jobs that remain to be done."""
        jobs, later = _one_move_per_number(batch)
        with database.translated_errors(_DOING):
            if self._express is None:
                self._express = open_express(self._engine)
            moves, at = [move for move, _ in jobs], self._now(self._express)
            moved = move_as_expected(self._express, self._mover, moves, at)
        for move, future in jobs:
            if move.phone in moved:
                future.set_result(Outcome(True, move.to, move.reason))
        return [job for job in jobs if job[0].phone not in moved] + later

    def _close_express(self) -> None:
        connection, self._express = self._express, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # it may be broken already, and nothing on it is unfinished
                connection.close()


def _one_move_per_number(jobs: list[_Job]) -> tuple[list[_Job], list[_Job]]:
    """The first job of each number, and the others: a number that stands in a batch twice (its settlement
    and its next claim cannot, but nothing here relies on that) is written in two rounds."""
    seen: set[str] = set()
    first: list[_Job] = []
    later: list[_Job] = []
    for job in jobs:
        phone = job[0].phone
        (later if phone in seen else first).append(job)
        seen.add(phone)
    return first, later
