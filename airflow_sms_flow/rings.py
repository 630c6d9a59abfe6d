"""One account's rate limit for all tasks that call it at once, on any machine, through the ledger.

Each task's ring holds a share of the slots. A newcomer starts with none; the others see it at their next
renewal, shrink as their slots come free, and say so; only then does it grow. So the shares never add up to
more than the limit. A task that dies keeps its share until its lease has run out and its last calls are
answered or given up.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SharingTimes:
    """How often shares are renewed, how long they last without, and how long a call may go unanswered."""

    renew_every_seconds: float = 1.0
    lease_seconds: float = 10.0
    answer_seconds: float = 35.0


@contextmanager
def shared_rings(
    ledger: Ledger, account: str, rings: Mapping[str, Ring], times: SharingTimes | None = None
) -> Iterator[None]:
    """Share these rings (name -> ring of the whole limit) with everybody else who calls `account`.

    Raises `LedgerError` where the ledger does not answer at the start. Where it stops answering later, the
    rings give out nothing more once the lease has run out.
    """
    sharing = _Sharing(ledger, account, rings, times or SharingTimes())
    sharing.renew()
    sharing.keeper.start()
    try:
        yield
    finally:
        sharing.leave()


class _Sharing:
    def __init__(self, ledger: Ledger, account: str, rings: Mapping[str, Ring], times: SharingTimes) -> None:
        self._ledger = ledger
        self._account = account
        self._rings = rings
        self._limits = {name: (ring.size, ring.concurrency) for name, ring in rings.items()}
        self._times = times
        self._holder_id = uuid.uuid4().hex
        self._over = threading.Event()
        self.keeper = threading.Thread(target=self._keep, name="sms-flow-rings", daemon=True)
        for ring in rings.values():
            ring.resize(0)

    def renew(self) -> None:
        times = self._times
        shares = {}
        with self._ledger.ring_shares(self._account) as book:
            for name, ring in self._rings.items():
                seconds = times.lease_seconds + times.answer_seconds + ring.window_seconds
                lease = timedelta(seconds=seconds)
                limit, _ = self._limits[name]
                shares[name] = book.renew(name, self._holder_id, limit, partial(_shrink, ring), lease)
        for name, share in shares.items():
            ring, (_, concurrency) = self._rings[name], self._limits[name]
            at_once = max(1, concurrency // share.holders) if concurrency is not None else None
            ring.resize(share.slots, at_once)
            ring.trust_for(times.lease_seconds)

    def leave(self) -> None:
        self._over.set()
        self.keeper.join()
        try:
            with self._ledger.ring_shares(self._account) as book:
                for name, ring in self._rings.items():
                    slots = ring.resize(0)
                    # What is still under way (a stopped task's) may be counted until it is given up.
                    unanswered = self._times.answer_seconds + ring.window_seconds if ring.in_use else 0.0
                    safe_after = timedelta(seconds=max(ring.rest_seconds, unanswered))
                    book.leave(name, self._holder_id, slots, safe_after)
        except LedgerError as error:
            log.warning("The share of the rate limit is given back when its lease runs out: %s", error)

    def _keep(self) -> None:
        while not self._over.wait(self._times.renew_every_seconds):
            try:
                self.renew()
            except LedgerError as error:
                # The lease still stands for a while; the engine itself stops when it cannot claim.
                log.warning("The share of the rate limit could not be renewed: %s", error)


def _shrink(ring: Ring, allowed: int) -> int:
    """Bring the ring down to `allowed`, never up; what it still answers for."""
    return ring.resize(allowed) if allowed < ring.size else ring.size
