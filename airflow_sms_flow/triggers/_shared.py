"""What all triggers of one triggerer process share, so that thousands of them cost little more than one: a
ledger with its few connections, a line to Vibes for each account, and a bound on looks under way.

Imported inside methods only.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from airflow_sms_flow.core.errors import LedgerError, SmsFlowError
from airflow_sms_flow.hooks.ledger import LedgerOpener
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.settings import LedgerSettings, ledger_settings
from airflow_sms_flow.waiting.looking import Line, open_line

if TYPE_CHECKING:
    from airflow_sms_flow.ledger import Ledger

#: Looks under way at once in one process; the others wait on its loop, without a thread.
LOOKS_AT_ONCE = 4
_HEAR_EVERY_SECONDS = 1.0
#: Of callbacks that lie unheard so many are read at most before a look goes on.
_HEARD_AT_ONCE = 10_000

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Lent:
    """An open line, and how many use it."""

    context: AbstractContextManager[Line]
    line: Line
    users: int = 0


class Shared:
    """Threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_ledger = LedgerOpener()
        self._ledgers: dict[LedgerSettings, Ledger] = {}
        self._lines: dict[str, _Lent] = {}
        self._hearing = threading.Lock()
        self._heard: WeakKeyDictionary[Ledger, float] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run this beside the loop when it is its turn."""
        turns = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(LOOKS_AT_ONCE))
        async with turns:
            return await asyncio.to_thread(call, *args, **kwargs)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The process's ledger. One that failed is opened anew the next time: it may have moved, or have got
        another password."""
        key = ledger_settings()
        with self._lock:
            found = self._ledgers.get(key)
            if found is None:
                found = self._ledgers[key] = self._open_ledger()
        try:
            yield found
        except LedgerError:
            with self._lock:
                if self._ledgers.get(key) is found:
                    del self._ledgers[key]
            found.close()
            raise

    def hear(self, ledger: Ledger) -> None:
        """Apply the callbacks that have come in, unless that was done a moment ago, or is being done."""
        if self._hearing.acquire(blocking=False):
            try:
                if time.monotonic() - self._heard.get(ledger, float("-inf")) >= _HEAR_EVERY_SECONDS:
                    ledger.hear_all(_HEARD_AT_ONCE)
                    self._heard[ledger] = time.monotonic()
            finally:
                self._hearing.release()

    @contextmanager
    def line(self, vibes_conn_id: str, ledger: Ledger) -> Iterator[Line]:
        """The process's line to this account, open while somebody uses it. After an error the next user gets
        a new one: the connection may have been changed."""
        with self._lock:
            lent = self._lines.get(vibes_conn_id)
            if lent is None:
                context = open_line(VibesHook(vibes_conn_id), ledger)
                lent = self._lines[vibes_conn_id] = _Lent(context, context.__enter__())
            lent.users += 1
        try:
            yield lent.line
        except SmsFlowError:
            with self._lock:
                self._forget(vibes_conn_id, lent)
            raise
        finally:
            with self._lock:
                lent.users -= 1
                is_last = not lent.users
                if is_last:
                    self._forget(vibes_conn_id, lent)
            if is_last:
                lent.context.__exit__(None, None, None)

    def _forget(self, vibes_conn_id: str, lent: _Lent) -> None:
        if self._lines.get(vibes_conn_id) is lent:
            del self._lines[vibes_conn_id]


@cache
def this_process() -> Shared:
    """Made at its first use, and kept: it is what a process has one of."""
    return Shared()
