"""The inbox is heard in the background, and whatever happens there hurts nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.plugin import listening
from airflow_sms_flow.plugin.listening import Listener
from tests.plugin.inboxes import MemoryInbox


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(listening, "_IDLE_SECONDS", 0.2)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_an_earlier_process_left_is_heard_at_the_start() -> None:
    """In pieces, until nothing is left."""
    inbox = MemoryInbox()
    inbox.to_hear = 1_000
    listener = Listener(lambda: inbox)
    listener.start()
    wait_until(lambda: inbox.to_hear == 0)
    listener.close()
    assert inbox.looks >= 5


def test_new_callbacks_are_heard_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Being woken is enough; nobody waits for the idle look."""
    monkeypatch.setattr(listening, "_IDLE_SECONDS", 60.0)
    inbox = MemoryInbox()
    listener = Listener(lambda: inbox)
    listener.start()
    wait_until(lambda: inbox.looks == 1)
    inbox.to_hear = 7
    listener.wake()
    wait_until(lambda: inbox.to_hear == 0)
    listener.close()


def test_without_work_it_looks_now_and_then() -> None:
    """Another API server may have stored something and ended before it could hear it."""
    inbox = MemoryInbox()
    listener = Listener(lambda: inbox)
    listener.start()
    wait_until(lambda: inbox.looks >= 3)
    listener.close()


@pytest.mark.parametrize("error", [LedgerError("the ledger is locked"), ValueError("+12025550101")])
def test_a_failure_is_told_once_and_tried_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is, with a new inbox; a stranger's text may hold a phone number and is not told."""
    inbox = MemoryInbox()
    inbox.deaf = error
    opened: list[MemoryInbox] = []

    def open_inbox() -> MemoryInbox:
        opened.append(inbox)
        return inbox

    listener = Listener(open_inbox)
    listener.start()
    wait_until(lambda: inbox.looks >= 3)
    inbox.deaf, inbox.to_hear = None, 5
    wait_until(lambda: inbox.to_hear == 0)
    listener.close()
    assert inbox.closed == len(opened) - 1 >= 3, "each one that failed is closed, and a new one opened"
    assert caplog.text.count("were not heard") == 1
    assert "2025550101" not in caplog.text
