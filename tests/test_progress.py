"""The line that a person reads while a long task runs."""

from __future__ import annotations

import threading

import pytest

from airflow_sms_flow.progress import Meter, Progress


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


def test_a_meter_tells_speed_and_time_left_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier try had downloaded counts as done, but not as speed; nor does beginning again."""
    now, said = 100.0, list[str]()
    monkeypatch.setattr("airflow_sms_flow.progress.time.monotonic", lambda: now)
    meter = Meter("Downloading", "MB", 500.0, lambda form, *values: said.append(form % values), digits=1)
    meter.reached(100.0)
    for now, done in [(109.0, 190.0), (110.0, 200.0), (112.0, 230.0), (120.0, 300.0), (130.0, 3.0)]:  # noqa: B007  # read by the clock
        meter.reached(done)
    assert said == [
        "Downloading: 200.0 of 500.0 MB, 10.0 MB/s, 0.5 min left",
        "Downloading: 300.0 of 500.0 MB, 10.0 MB/s, 0.3 min left",
        "Downloading: 3.0 of 500.0 MB, 0.0 MB/s, time left unknown",
    ]


def test_a_meter_need_not_know_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Marketo does not always say how many there are."""
    caplog.set_level("INFO")
    times = iter([0.0, 1.0, 10.0])
    monkeypatch.setattr("airflow_sms_flow.progress.time.monotonic", lambda: next(times))
    meter = Meter("Converting", "rows", None)
    meter.reached(0)
    meter.reached(1_000_000)
    assert caplog.messages == ["Converting: 1,000,000 rows, 100,000 rows/s, time left unknown"]
