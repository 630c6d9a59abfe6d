"""The engine under all three flow steps: claim, send, settle, resume. It knows nothing of Airflow.

It reads once what the ledger knows, hands everybody who is still due to its threads, and keeps the lease
under which their claims count. For each recipient a thread (see `courier`)

1. *decides* by reading calls only (is the person on the list?); many need no request at all;
2. takes a slot of the rate limit, and only then
3. *claims* the delivery: committed before the request leaves, so that a crash leaves a trace;
4. *acts*: the one request with an effect;
5. *settles* what the answer means, and waits for the commit before it claims anybody else.

So a kill leaves at most one claimed row per thread. What a claim without an answer means, and who may
repeat it, is DESIGN "Sending exactly once".
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.core.errors import LedgerError, Stopped
from airflow_sms_flow.courier import Courier, Doubt, Plan
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.known import Known
from airflow_sms_flow.ledger.writer import Writer
from airflow_sms_flow.progress import Progress
from airflow_sms_flow.steps.step import Recipient, Step

log = logging.getLogger(__name__)

_BATCH = 2_000
_POLL_SECONDS = 0.25
#: For clocks and commits, on top of what an abandoned claim takes to end.
_MARGIN_SECONDS = 5.0


#: Tells of many numbers at once which of them no try has to look at again.
Settled = Callable[[Sequence[str]], np.ndarray]
#: Whom to reach: a long audience may leave out who is settled, which is quicker than to have us do it.
Recipients = Iterable[Recipient] | Callable[[Settled], Iterable[Recipient]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a try did: its rows in the ledger carry `claimer_id`."""

    dispatch_id: int
    claimer_id: str
    attempted: int
    #: Of whom a passing fault kept this try from knowing more than their row, which is not open, says.
    left: int


class Dispatcher:
    """Runs one plan once. `stop` may be set by anybody at any time: nothing is claimed after that."""

    def __init__(self, ledger: Ledger, step: Step, plan: Plan, stop: threading.Event | None = None) -> None:
        self._ledger = ledger
        self._step = step
        self._plan = plan
        self._told_to_stop = stop or threading.Event()
        self._halt = threading.Event()
        self._fed = threading.Event()
        self._failure: BaseException | None = None
        self._failing = threading.Lock()
        self._hurry = False
        self._left_under_way = False
        self._work: queue.Queue[tuple[Recipient, DeliveryState | None]] = queue.Queue(plan.concurrency * 2)
        self._taken_by_others: queue.SimpleQueue[Recipient] = queue.SimpleQueue()
        self._lease_valid_until = 0.0
        self._progress = Progress(None)
        #: Of this try, once `run` has returned or raised; None where it never came to send.
        self.result: Result | None = None

    def run(self, recipients: Recipients, total: int | None = None) -> Result:
        """Reach everybody who is still due; returns when nothing is under way any more. Each number at most
        once in `recipients`. Whoever a passing fault kept from being reached stays open in the ledger, or, if
        an earlier try got further with them, as they stood: those are `left`.

        Raises `ConfigError`, `BugError` or `QuotaExhausted` after at most one request per thread,
        `Unavailable` after a long outage of the vendor, `LedgerError` where a claim or a result cannot be
        written, `Stopped` when told to stop. Whatever was answered is settled first, and `result` tells of
        the unfinished try.
        """
        plan = self._plan
        self._progress = Progress(total)
        dispatch_id = self._ledger.dispatch_id(plan.campaign)
        known = self._ledger.known(dispatch_id, plan.fingerprint, ask_again_after=plan.ask_again_after)
        if known.other_fingerprints:
            log.warning(
                "%d people got another text under campaign key %r: they count as already done. "
                "Give a new text a campaign key of its own.",
                known.other_fingerprints,
                plan.campaign.campaign_key,
            )
        began = time.monotonic()  # before the database counts from its own now: never believe in more
        claimer_id = self._ledger.register_claimer(dispatch_id, plan.task_try, plan.lease)
        self._lease_valid_until = began + plan.lease.seconds
        try:
            with (
                self._ledger.writer(plan.campaign, plan.fingerprint, claimer_id) as writer,
                self._crew(self._courier(writer, dispatch_id), claimer_id),
            ):
                people = recipients(self._settled_of(known)) if callable(recipients) else recipients
                waiting = self._feed(_with_states(people, known.look_up))
                self._finish(dispatch_id, waiting)
        finally:
            self._end(claimer_id)
            progress = self._progress
            self.result = Result(dispatch_id, claimer_id, progress["attempted"], progress["left"])
        if self._failure is not None:
            raise self._failure
        return self.result

    # -- the main thread -------------------------------------------------------------------------------

    def _feed(self, recipients: Iterator[tuple[Recipient, DeliveryState | None, bool]]) -> list[Recipient]:
        """Hand out everybody who is due; returns those whom another claimer is asking right now."""
        waiting: list[Recipient] = []
        for recipient, state, settled in recipients:
            if self._halted():
                break
            if state is DeliveryState.CLAIMED:
                waiting.append(recipient)
            elif self._is_due(state, settled):
                self._hand_out(recipient, state)
            else:
                self._progress.count("done before")
        return waiting

    def _settled_of(self, known: Known) -> Settled:
        def settled(phones: Sequence[str]) -> np.ndarray:
            found = known.settled(phones)
            self._progress.count("done before", int(found.sum()))
            return found

        return settled

    def _is_due(self, state: DeliveryState | None, settled: bool) -> bool:
        return not settled and (state is not DeliveryState.IN_DOUBT or self._step.repeats_in_doubt)

    def _hand_out(self, recipient: Recipient, state: DeliveryState | None) -> None:
        while not self._halted():
            try:
                self._work.put((recipient, state), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def _finish(self, dispatch_id: int, waiting: list[Recipient]) -> None:
        """Wait for our own work, and for what another living try is asking right now: its claims are its own,
        but what they come to is ours to report, and to go on with where it leaves something due.

        A claim ends with its answer, or as in doubt once its claimer is gone; should one do neither for that
        long, it is left as it stands.
        """
        patience = self._plan.lease.seconds + self._plan.lease.answer_seconds + _MARGIN_SECONDS
        moved_at, told = time.monotonic(), False
        while not self._halted():
            working = self._work.unfinished_tasks  # read before its outcome: what is taken is put there first
            waiting += _drained(self._taken_by_others)
            if waiting and not told:
                log.info("Another try of this task still asks %d people; waiting with it", len(waiting))
                told = True
            if not waiting and not working:
                return
            self._halt.wait(_POLL_SECONDS if waiting else _POLL_SECONDS / 5)
            still = self._still_claimed(dispatch_id, waiting)
            if working or len(still) < len(waiting):
                moved_at = time.monotonic()
            elif time.monotonic() > moved_at + patience:
                log.warning("Another try of this task holds %d claims without an end", len(still))
                self._progress.count("left", len(still))
                return
            waiting = still

    def _still_claimed(self, dispatch_id: int, waiting: list[Recipient]) -> list[Recipient]:
        """Those of `waiting` who are; hands out who is due by now."""
        if not waiting:
            return []
        rows = self._ledger.rows_after_claims(dispatch_id, [recipient.phone for recipient in waiting])
        still: list[Recipient] = []
        for recipient in waiting:
            row = rows.get(recipient.phone)
            state, reason = (row.state, row.reason) if row is not None else (None, None)
            if state is DeliveryState.CLAIMED:
                still.append(recipient)
            elif self._is_due(state, state is not None and is_settled(state, reason)):
                self._hand_out(recipient, state)
            else:
                self._progress.count("finished")
        return still

    def _end(self, claimer_id: str) -> None:
        """Say that nothing is under way; where something is, or the ledger is gone, the lease runs out."""
        if self._left_under_way:
            return
        try:
            self._ledger.end_claimer(claimer_id)
        except LedgerError as error:
            self._fail(error)

    # -- threads ---------------------------------------------------------------------------------------

    @contextmanager
    def _crew(self, courier: Courier, claimer_id: str) -> Iterator[None]:
        workers = [
            threading.Thread(target=self._work_off, args=(courier,), name=f"sms-flow-{n}", daemon=True)
            for n in range(self._plan.concurrency)
        ]
        watch = threading.Thread(target=self._watch, args=(claimer_id,), name="sms-flow-watch", daemon=True)
        for thread in (watch, *workers):
            thread.start()
        try:
            yield
            self._fed.set()
            self._join(workers)
        except BaseException as error:  # a time-out of Airflow's too: settle first, raise at the end of `run`
            self._hurry = not isinstance(error, Exception)
            self._fail(error)
            self._join(workers)
        finally:
            self._halt.set()
            watch.join()
            self._left_under_way = any(worker.is_alive() for worker in workers)

    def _join(self, workers: list[threading.Thread]) -> None:
        """Wait for the workers. Once the work is halted they finish what is under way: for `finish_seconds`
        where somebody waits for us to go, else for as long as an answer may take."""
        halted_at: float | None = None
        for worker in workers:
            while worker.is_alive():
                worker.join(_POLL_SECONDS / 5)
                if self._halted():
                    halted_at = halted_at or time.monotonic()
                    hurry = self._hurry or self._told_to_stop.is_set()
                    patience = self._plan.finish_seconds if hurry else self._plan.lease.answer_seconds
                    if time.monotonic() > halted_at + patience:
                        return

    def _courier(self, writer: Writer, dispatch_id: int) -> Courier:
        def lease_stands() -> bool:
            return time.monotonic() < self._lease_valid_until

        def doubt_of(phone: str) -> Doubt | None:
            row, now = self._ledger.rows(dispatch_id, [phone]).get(phone), self._ledger.now()
            if row is None or row.state is not DeliveryState.IN_DOUBT:
                return None  # another try asks right now, or has had its answer
            return Doubt(row.claim_id, (now - row.updated_at).total_seconds())

        return Courier(self._step, self._plan, writer, self._progress, self._halt, lease_stands, doubt_of)

    def _work_off(self, courier: Courier) -> None:
        while not self._halted():
            try:
                recipient, seen = self._work.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._fed.is_set():
                    return
                continue
            try:
                if not courier.deliver(recipient, seen):
                    self._taken_by_others.put(recipient)
            except Stopped:
                return
            except BaseException as error:  # a worker that died silently would lose people
                self._fail(error)
            finally:
                self._work.task_done()

    def _watch(self, claimer_id: str) -> None:
        """Renew the lease, tell the progress."""
        lease = self._plan.lease
        renewed_at = time.monotonic()
        while not self._halt.wait(min(1.0, lease.renew_every_seconds)):
            self._progress.tell_now_and_then()
            now = time.monotonic()
            if now - renewed_at < lease.renew_every_seconds:
                continue
            try:
                renewed = self._ledger.renew_lease(claimer_id, lease)
            except LedgerError as error:
                self._fail(error)
                return
            if not renewed:
                self._fail(LedgerError("the lease of this task ran out: it was suspended or starved"))
                return
            renewed_at = now
            self._lease_valid_until = now + lease.seconds

    def _fail(self, error: BaseException) -> None:
        with self._failing:
            self._failure = self._failure or error
        self._halt.set()

    def _halted(self) -> bool:
        if self._told_to_stop.is_set() and not self._halt.is_set():
            self._fail(Stopped("told to stop: requests under way were settled, the rest is open"))
        return self._halt.is_set()


def _drained(recipients: queue.SimpleQueue[Recipient]) -> list[Recipient]:
    return [recipients.get() for _ in range(recipients.qsize())]


def _with_states(
    recipients: Iterable[Recipient], look_up: Callable[[list[str]], list[tuple[DeliveryState | None, bool]]]
) -> Iterator[tuple[Recipient, DeliveryState | None, bool]]:
    iterator = iter(recipients)
    while batch := list(islice(iterator, _BATCH)):
        states = look_up([recipient.phone for recipient in batch])
        for recipient, (state, settled) in zip(batch, states, strict=True):
            yield recipient, state, settled
