"""The ring, held to its promise by a server that counts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.core.errors import InvalidInput, Stopped


def busiest_window(moments: list[float], seconds: float) -> int:
    """The most moments that any sliding window of that length holds, both ends included."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def run_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("jitter", [0.0, 0.03, 0.15])
def test_no_sliding_window_exceeds_the_limit_as_a_jittery_server_counts_it(jitter: float) -> None:
    """However long a call takes to be counted and answered, the server never sees more than the limit."""
    ring, counted, lock = Ring(40, 0.25), [], threading.Lock()
    end = time.monotonic() + 1.5

    def call() -> None:
        dice = random.Random()
        while time.monotonic() < end:
            with ring.take():
                time.sleep(dice.uniform(0, jitter))  # on the way
                with lock:
                    counted.append(time.monotonic())
                time.sleep(dice.uniform(0, jitter))  # on the way back

    run_threads(24, call)
    assert busiest_window(counted, 0.25) <= 40
    assert len(counted) > 40


def test_the_rate_comes_near_what_the_round_trip_allows() -> None:
    """Never exceeding costs little: limit / (window + round trip)."""
    ring, done = Ring(100, 0.25), []
    start = time.monotonic()

    def call() -> None:
        while time.monotonic() < start + 2.0:
            with ring.take():
                time.sleep(0.01)
            done.append(1)

    run_threads(12, call)
    bound = 100 / (0.25 + 0.01) * 2.0
    assert len(done) > 0.8 * bound


def test_a_slot_held_longer_is_not_used_before() -> None:
    """After a timeout the server may count late: the slot rests for the window and the hold."""
    now = [100.0]
    ring = Ring(1, 1.0, clock=lambda: now[0])
    ring.take().give_back(30.0)
    now[0] = 130.9
    with pytest.raises(Stopped):
        ring.take(_after_glances(2))
    now[0] = 131.1
    ring.take()


def test_a_slot_is_given_back_once_only() -> None:
    """A second return of the same slot changes nothing."""
    now = [100.0]
    ring = Ring(1, 1.0, clock=lambda: now[0])
    with ring.take() as slot:
        slot.give_back()
    now[0] = 102.0
    ring.take()
    with pytest.raises(Stopped):
        ring.take(_after_glances(2))


def test_stopping_ends_the_wait_for_a_slot_within_a_second() -> None:
    """Whoever waits for the limit hears `stop` soon, also while another thread has the turn."""
    ring, stopped, ended = Ring(1, 60.0), threading.Event(), []
    ring.take()

    def wait() -> None:
        with pytest.raises(Stopped):
            ring.take(stopped.is_set)
        ended.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    at = time.monotonic()
    stopped.set()
    for thread in threads:
        thread.join()
    assert len(ended) == 5
    assert max(ended) - at < 1.0


def test_no_more_calls_are_under_way_than_the_concurrency() -> None:
    """Marketo refuses the eleventh call at once."""
    ring, under_way, most, lock = Ring(1000, 0.1, concurrency=3), [0], [0], threading.Lock()

    def call() -> None:
        for _ in range(5):
            with ring.take():
                with lock:
                    under_way[0] += 1
                    most[0] = max(most[0], under_way[0])
                time.sleep(0.005)
                with lock:
                    under_way[0] -= 1

    run_threads(10, call)
    assert most[0] == 3


def test_refusals_of_one_moment_slow_the_ring_once_and_it_recovers() -> None:
    """Twenty calls refused together mean one step down, to half the pace; later the pace comes back."""
    now = [100.0]
    ring = Ring(10, 1.0, clock=lambda: now[0])
    for _ in range(20):
        ring.slow_down()
    assert gap(ring, now) == pytest.approx(0.2, abs=0.03)
    now[0] += 100.0
    assert gap(ring, now) == pytest.approx(0.1, abs=0.03)


def test_a_shrunk_ring_answers_for_a_slot_until_its_window_is_over() -> None:
    """Slots that are given up count until the server has forgotten their last call."""
    now = [100.0]
    ring = Ring(4, 1.0, clock=lambda: now[0])
    slots = []
    for _ in range(4):
        slots.append(ring.take())
        now[0] += 0.25
    for slot in slots:
        slot.give_back()
    assert ring.resize(1) == 4
    now[0] += 1.1
    assert ring.resize(1) == 1


@pytest.mark.parametrize(
    ("limit", "window", "concurrency"), [(0, 1.0, None), (5, 0.0, None), (5, 1.0, 0), (-1, 1.0, None)]
)
def test_an_impossible_limit_is_refused(limit: int, window: float, concurrency: int | None) -> None:
    """A limit that would never let anything through is a mistake, said at once."""
    with pytest.raises(InvalidInput):
        Ring(limit, window, concurrency=concurrency)


def gap(ring: Ring, now: list[float]) -> float:
    """How far apart two calls are let through now, to a fiftieth of a second."""
    for _ in range(2):  # the first of them may catch up
        _advance_to_a_slot(ring, now)
    start = now[0]
    _advance_to_a_slot(ring, now)
    return now[0] - start


def _advance_to_a_slot(ring: Ring, now: list[float]) -> None:
    while True:
        try:
            return ring.take(_after_glances(2)).give_back()
        except Stopped:
            now[0] += 0.02


def _after_glances(count: int) -> Callable[[], bool]:
    """A `stop` that is True from the glance after `count` on."""
    glances = [0]

    def stop() -> bool:
        glances[0] += 1
        return glances[0] > count

    return stop
