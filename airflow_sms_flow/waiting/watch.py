"""The wait for one pending audience, as its sensor and its trigger keep it between two looks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from airflow_sms_flow.core.opt_in import OptIn
from airflow_sms_flow.core.opt_in_wait import LONGEST_SECONDS_WHEN_TOLD, LookPlan
from airflow_sms_flow.waiting.board import OptInBoard
from airflow_sms_flow.waiting.looking import Line, Question, Round, steady

if TYPE_CHECKING:
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.ledger.opt_in_looks import OptInLooks

#: All is read anew now and then: what was overlooked, and what a clock that was set has put far off.
_RELOAD_SECONDS = 3600.0
#: A watch wakes at most so often, and at least so often while somebody is due whom the budget did not allow.
_RARELY, _OFTEN_ENOUGH = 10.0, 60.0


class OptInWatch:
    """One thread at a time may use it. It keeps no ledger: a triggerer's watches share one.

    `needed`: so many confirmed people are enough; None: it takes a decision of everybody.
    """

    def __init__(self, question: Question, path: str, plan: LookPlan, needed: int | None = None) -> None:
        self._question = question
        self._path = path
        self._plan = plan
        self._needed = needed
        self._board: OptInBoard | None = None
        self._loaded = 0.0
        self._as_of: datetime | None = None
        self._told_at: datetime | None = None
        self._next_look_at: datetime | None = None
        self._is_cut_short = False

    @property
    def board(self) -> OptInBoard:
        """Where everybody stands, once `read` was called."""
        assert self._board is not None
        return self._board

    @property
    def is_over(self) -> bool:
        """Everybody is decided, or enough have confirmed."""
        counts = self.board.counts()
        return not counts["pending"] or (self._needed is not None and counts["confirmed"] >= self._needed)

    def read(self, ledger: Ledger, at: datetime) -> None:
        """What the ledger knows by now, callbacks that were heard included. Raises `InvalidInput` for a file
        that is no pending audience."""
        looks = self._question.looks(ledger)
        if self._board is None or time.monotonic() - self._loaded > _RELOAD_SECONDS:
            self._as_of = ledger.now()
            self._board = OptInBoard.load(self._path, looks, at, self._plan, partial(self._enrol, ledger, at))
            self._told_at = self._board.told_at
            self._loaded = time.monotonic()
        self._read_news(looks, at)

    def ask(
        self,
        ledger: Ledger,
        at: datetime,
        halt: threading.Event,
        line: Callable[[], AbstractContextManager[Line]],
    ) -> int:
        """Look up at Vibes who is due, and store what was found; returns how many got no answer.

        Raises `ConfigError` or `BugError` where Vibes refuses our request, `Stopped` soon after `halt` is
        set. `line` is opened where somebody is due.
        """
        if self.is_over or self._next_look_at is None or self._next_look_at > at:
            return 0
        told_lately = at - timedelta(seconds=LONGEST_SECONDS_WHEN_TOLD)
        told = self._told_at is not None and self._told_at > told_lately
        one_round = Round(ledger, self._question, self._plan, steady(at), halt, told)
        one_round.run(line)
        self._is_cut_short = one_round.is_cut_short
        self.board.apply(one_round.found, at)
        self._read_news(self._question.looks(ledger), at)
        return one_round.left

    def pause(self, at: datetime) -> float:
        """Seconds until it is worthwhile to look again: after the interval, or when the next look is due.
        A little is left to chance, so that thousands of watches do not wake together."""
        if self._is_cut_short:
            return 0.0
        interval = self._plan.first_seconds
        seconds = interval * random.uniform(0.9, 1.1)
        if self._next_look_at is not None:
            due_in = (self._next_look_at - at).total_seconds()
            rarely = min(interval, _RARELY)
            soon = max(rarely, due_in + random.uniform(0, rarely / 5)) if due_in > 0 else _OFTEN_ENOUGH
            seconds = min(seconds, soon)
        return seconds

    def _enrol(self, ledger: Ledger, at: datetime, people: Mapping[str, OptIn]) -> None:
        """See to it that these are looked at."""
        self._question.store(ledger, people, at)
        first = {phone: self._plan.first(opt_in, at, random.random()) for phone, opt_in in people.items()}
        self._question.looks(ledger).schedule(first)

    def _read_news(self, looks: OptInLooks, at: datetime) -> None:
        assert self._as_of is not None
        news = looks.news(self._as_of)
        self.board.apply(news.decided, at)
        self._as_of, self._next_look_at = news.as_of, news.next_look_at
        if news.told:
            self._told_at = at
