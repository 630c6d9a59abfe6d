"""Group commit: one thread writes whatever the senders have waiting, in one transaction.

A sender that gets its answer from here knows that it is on disk. At 300 sends a second this costs about a
hundred commits instead of six hundred; a commit per row would be too slow for PostgreSQL at that rate.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection, Engine

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import database
from airflow_sms_flow.ledger.deliveries import Move, Mover, Outcome, apply_moves

#: How long the writer waits for company: short beside any request, long beside a commit.
_LINGER_SECONDS = 0.005
_MAX_BATCH = 500

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

    def _next_batch(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        batch, until = [first], time.monotonic() + _LINGER_SECONDS
        while len(batch) < _MAX_BATCH:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
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
            outcomes = self._write(batch)
        except Exception as error:  # whatever it is, the senders wait for it and must hear of it
            # Only the kind of a stranger: its text may carry a number.
            told = LedgerError(f"the ledger failed: {type(error).__name__}")
            failure = error if isinstance(error, LedgerError) else told
            if self._error is None:
                self._error = failure
                self._commit(batch)
                return
            for _, future in batch:
                future.set_exception(failure)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)

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

    def _write(self, batch: list[_Job]) -> list[Outcome]:
        """All moves of the batch in one transaction. A number that stands in it twice (its settlement and
        its next claim cannot, but nothing here relies on that) is written in two rounds."""
        if not batch:
            return []
        outcomes: dict[int, Outcome] = {}
        with database.writing(self._engine, "writing claims and results") as connection:
            at = self._now(connection)
            pending = list(enumerate(move for move, _ in batch))
            while pending:
                round_now, pending = _one_move_per_number(pending)
                moves = [move for _, move in round_now]
                made = apply_moves(connection, self._mover, moves, at)
                outcomes |= {place: outcome for (place, _), outcome in zip(round_now, made, strict=True)}
        return [outcomes[place] for place in range(len(batch))]


def _one_move_per_number(
    moves: list[tuple[int, Move]],
) -> tuple[list[tuple[int, Move]], list[tuple[int, Move]]]:
    seen: set[str] = set()
    first: list[tuple[int, Move]] = []
    later: list[tuple[int, Move]] = []
    for place, move in moves:
        (later if move.phone in seen else first).append((place, move))
        seen.add(move.phone)
    return first, later
