"""The rate limit of one account, shared by several senders through one ledger."""

from __future__ import annotations

import bisect
import threading
import time
from datetime import timedelta

import pytest

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.rings import SharingTimes, shared_rings

ACCOUNT = "vibes:acme"
QUICK = SharingTimes(renew_every_seconds=0.1, lease_seconds=1.0, answer_seconds=0.5)


class Server:
    """Counts calls at some moment between request and response, as a vendor does."""

    def __init__(self) -> None:
        self.arrivals: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def call(self, sender: str) -> None:
        time.sleep(0.005)
        with self._lock:
            self.arrivals.setdefault(sender, []).append(time.monotonic())
        time.sleep(0.005)

    def highest_in_any_second(self) -> int:
        moments = sorted(moment for calls in self.arrivals.values() for moment in calls)
        return max(bisect.bisect_left(moments, at + 1.0) - place for place, at in enumerate(moments))


def send(ledger: Ledger, server: Server, sender: str, seconds: float, limit: int = 60) -> None:
    ring = Ring(limit)
    until = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < until:
            with ring.take(lambda: time.monotonic() > until):
                server.call(sender)

    with shared_rings(ledger, ACCOUNT, {"events": ring}, QUICK):
        threads = [threading.Thread(target=quietly, args=(work,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def quietly(work):  # type: ignore[no-untyped-def]  # a thread's target
    from contextlib import suppress

    from airflow_sms_flow.core.errors import Stopped

    with suppress(Stopped):
        work()


def test_two_senders_together_never_exceed_the_limit_and_both_get_their_part(ledger: Ledger) -> None:
    """Newcomers start with nothing, grow as the others shrink, and what one leaves the other takes."""
    server = Server()
    first = threading.Thread(target=send, args=(ledger, server, "first", 6.0))
    second = threading.Thread(target=send, args=(ledger, server, "second", 3.0))
    first.start()
    time.sleep(1.5)
    second.start()
    first.join()
    second.join()
    assert server.highest_in_any_second() <= 60
    assert len(server.arrivals["second"]) > 20
    assert len(server.arrivals["first"]) > 150


def test_a_dead_sender_keeps_its_part_until_its_lease_is_over(ledger: Ledger) -> None:
    """Its last calls may still be counted; only then may others use its slots."""
    lease = timedelta(seconds=1.0)
    with ledger.ring_shares(ACCOUNT) as book:
        book.renew("events", "dead", 60, lambda allowed: allowed, lease)
    ring = Ring(60)
    with shared_rings(ledger, ACCOUNT, {"events": ring}, QUICK):
        assert ring.size == 0
        deadline = time.monotonic() + 5
        while ring.size < 60:
            assert time.monotonic() < deadline, f"only {ring.size} slots came back"
            time.sleep(0.05)


def test_a_slot_held_after_a_time_out_is_not_given_to_others_when_its_sender_leaves(ledger: Ledger) -> None:
    """The vendor may count that call long after we stopped waiting; idle slots are free at once."""
    ring, next_ring = Ring(60), Ring(60)
    with shared_rings(ledger, ACCOUNT, {"events": ring}, QUICK):
        ring.take().give_back(hold_seconds=3.0)
    with shared_rings(ledger, ACCOUNT, {"events": next_ring}, QUICK):
        time.sleep(1.5)
        assert 0 < next_ring.size < 60
        deadline = time.monotonic() + 6
        while next_ring.size < 60:
            assert time.monotonic() < deadline, "the slot never came back"
            time.sleep(0.05)


def test_a_sender_that_cannot_renew_stops_at_the_end_of_its_lease() -> None:
    """Others will take its slots then."""
    ring = Ring(10)
    ring.trust_for(0.2)
    ring.take().give_back()
    time.sleep(0.3)
    until = time.monotonic() + 0.5
    with pytest.raises(Exception, match="rate limit"):
        ring.take(lambda: time.monotonic() > until)


def test_rings_of_one_account_and_accounts_are_apart(ledger: Ledger) -> None:
    """Events and other calls have limits of their own, and so has each company."""
    rings = {"events": Ring(30), "calls": Ring(10)}
    others = {"events": Ring(30)}
    with shared_rings(ledger, ACCOUNT, rings, QUICK), shared_rings(ledger, "vibes:globex", others, QUICK):
        assert [ring.size for ring in (*rings.values(), *others.values())] == [30, 10, 30]


def test_calls_at_once_are_shared_as_well(ledger: Ledger) -> None:
    """Marketo counts calls under way for the whole instance; everybody keeps at least one."""
    rings = [Ring(50, 20.0, concurrency=5) for _ in range(2)]
    with (
        shared_rings(ledger, "marketo:x", {"calls": rings[0]}, QUICK),
        shared_rings(ledger, "marketo:x", {"calls": rings[1]}, QUICK),
    ):
        time.sleep(0.5)
        assert [ring.concurrency for ring in rings] == [2, 2]


def test_without_a_ledger_nothing_is_called(tmp_path) -> None:  # type: ignore[no-untyped-def]  # a fixture
    """A ledger that does not answer at the start is an error, not a licence."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(LedgerError), shared_rings(ledger, ACCOUNT, {"events": Ring(10)}, QUICK):
        pass
