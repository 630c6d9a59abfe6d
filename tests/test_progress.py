"""The line that a person reads while a long task runs."""

from __future__ import annotations

import threading

import pytest

from airflow_sms_flow.progress import Progress


def test_it_tells_once_in_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Done of total, rate, refusals, doubts, time left; what earlier tries did counts as done."""
    caplog.set_level("INFO")
    now = 100.0
    monkeypatch.setattr("airflow_sms_flow.progress.time.monotonic", lambda: now)
    one = Progress(10_000)
    for name, times in {"done before": 1000, "finished": 3000, "refused": 7, "in_doubt": 2}.items():
        for _ in range(times):
            one.count(name)
    now = 109.0
    one.tell_now_and_then()
    assert caplog.messages == []
    now = 110.0
    one.tell_now_and_then()
    one.tell_now_and_then()
    assert caplog.messages == ["4,000 of 10,000 done, 300/s, 7 refused, 2 in doubt, 0.3 min left"]
    now = 120.0
    one.tell_now_and_then()
    assert caplog.messages[-1].endswith("0/s, 7 refused, 2 in doubt, time left unknown")


def test_any_thread_may_count() -> None:
    """Nothing is lost between them."""
    one = Progress(None)

    def count() -> None:
        for _ in range(2000):
            one.count("finished")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one["finished"] == 8000
