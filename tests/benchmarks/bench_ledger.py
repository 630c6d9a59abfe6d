"""What the ledger costs per send, and how soon a second try gets to its first new request (goal: 3 s).

    python tests/benchmarks/bench_ledger.py [--quick]

On SQLite (WAL, synchronous=FULL) and on PostgreSQL (fsync on, over loopback).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

from sqlalchemy import event
from sqlalchemy.engine import Engine

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher
from airflow_sms_flow.ledger import Lease, Ledger, TaskTry, database
from airflow_sms_flow.ledger.deliveries import Move, Mover, apply_moves
from airflow_sms_flow.ledger.writer import Writer
from airflow_sms_flow.operators import SendSmsMessageOperator
from airflow_sms_flow.sandbox.numbers import us_number
from tests.benchmarks.audiences import InstantStep, fill_ledger, write_audience
from tests.benchmarks.measuring import databases, fresh_ledger, judged, median, show, spread, started_quick

THREADS = 32
RATE = 300
ROUND_TRIP_SECONDS = 0.03
RESUME_GOAL_SECONDS = 3.0
ROUNDS = 3
CAMPAIGN = Campaign("acme", "bench", StepName.SEND, "1201")
FINGERPRINT = "f" * 64

Write = Callable[[Move], object]


@dataclass(frozen=True)
class Cost:
    """Of one measurement."""

    sends: int
    seconds: float
    cpu_seconds: float
    commits: int

    @property
    def rate(self) -> float:
        return self.sends / self.seconds

    @property
    def cpu_ms(self) -> float:
        return self.cpu_seconds / self.sends * 1000


def main() -> None:
    quick = started_quick(__doc__)
    with ExitStack() as stack:
        ledgers = {name: stack.enter_context(fresh_ledger(name)) for name in databases()}
        for name, address in ledgers.items():
            print(f"{name}: the ledger's share of a send (a claim, then its settlement)")
            measure_writing(address, seconds=1.0 if quick else 15.0)
        people, done = (20_000, 19_800) if quick else (1_000_000, 990_000)
        with tempfile.TemporaryDirectory() as folder:
            audience = f"{folder}/audience.parquet"
            write_audience(audience, people)
            for name, address in ledgers.items():
                print(f"{name}: resume, {done:,} of {people:,} done before, the undone last")
                measure_resume(address, audience, people, done, sample=500 if quick else 20_000)


def measure_writing(address: str, seconds: float) -> None:
    """At the vendor's rate, and as fast as it goes."""
    Ledger.open(address).close()
    engine = database.create_ledger_engine(address)
    mover = a_mover(address)
    numbers, paced = count(), Ring(RATE)
    bare = many_senders(engine, numbers, lambda move: None, seconds, paced)
    with Writer(engine, mover) as writer:
        at_rate = many_senders(engine, numbers, writer.write, seconds, paced)
        at_most = many_senders(engine, numbers, writer.write, seconds / 3, None)
    alone = many_senders(engine, numbers, partial(write_alone, engine, mover), seconds / 3, None, threads=1)
    engine.dispose()
    overhead = at_rate.cpu_ms - bare.cpu_ms
    share, commits = overhead * at_rate.rate / 10, at_rate.commits / at_rate.seconds
    note = f"{share:.0f} % of a core at {at_rate.rate:.0f}/s; {commits:.0f} commits/s"
    show("group commit, client CPU per send", f"{overhead:.2f} ms", note)
    note = f"{at_most.cpu_ms:.2f} ms CPU"
    show(f"group commit at its fastest, {THREADS} threads", f"{at_most.rate:,.0f}/s", note)
    note = f"{alone.cpu_ms:.2f} ms CPU; group commit {at_most.rate / alone.rate:.1f} times as fast"
    show("naive: a commit per row, one after the other", f"{alone.rate:,.0f}/s", note)


def a_mover(address: str) -> Mover:
    ledger = Ledger.open(address)
    dispatch_id = ledger.dispatch_id(CAMPAIGN)
    claimer_id = ledger.register_claimer(dispatch_id, TaskTry(), Lease(seconds=3600))
    ledger.close()
    return Mover(dispatch_id, CAMPAIGN, FINGERPRINT, claimer_id)


def many_senders(
    engine: Engine,
    numbers: count[int],
    write: Write,
    seconds: float,
    paced: Ring | None,
    threads: int = THREADS,
) -> Cost:
    """Threads that claim, wait for an answer (where the vendor's rate is kept), and settle."""
    sent, commits, until = count(), count(), time.monotonic() + seconds

    def counted(_connection: object) -> None:
        next(commits)

    def send() -> None:
        while time.monotonic() < until:
            n = next(numbers)
            phone, claim_id = us_number(n), f"claim {n}"
            slot = paced.take() if paced is not None else None
            write(Move(phone, DeliveryState.CLAIMED, "request leaves", claim_id=claim_id))
            if slot is not None:
                time.sleep(ROUND_TRIP_SECONDS)
                slot.give_back()
            write(Move(phone, DeliveryState.ACCEPTED, "answered 202", "accepted", claim_id=claim_id))
            next(sent)

    event.listen(engine, "commit", counted)
    began, cpu = time.monotonic(), time.process_time()
    senders = [threading.Thread(target=send) for _ in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    event.remove(engine, "commit", counted)
    return Cost(next(sent), seconds, cpu, next(commits))


def write_alone(engine: Engine, mover: Mover, move: Move) -> None:
    """A transaction for one row."""
    with database.writing(engine, "writing one row") as connection:
        apply_moves(connection, mover, [move], database.now(connection))


def measure_resume(address: str, audience: str, people: int, done: int, sample: int) -> None:
    """From the start of `Dispatcher.run` to the first new request, with the operator's own reading."""
    campaign = Campaign("acme", "resumed", StepName.SEND, "1201")
    fill_ledger(address, campaign, FINGERPRINT, done)
    ledger = Ledger.open(address)
    dispatch_id = ledger.dispatch_id(campaign)
    waits = [first_request_after(ledger, campaign, audience, people) for _ in range(ROUNDS)]
    began = time.monotonic()
    for n in range(sample):
        ledger.rows(dispatch_id, [us_number(n * (people // sample))])
    one_by_one = (time.monotonic() - began) / sample * people
    ledger.close()
    wait = median(waits)
    verdict = judged(wait, RESUME_GOAL_SECONDS, at_least=False)
    note = f"{spread(waits, 's')}; goal {RESUME_GOAL_SECONDS:.0f} s: {verdict}"
    show("to the first new request", f"{wait:.2f} s", note)
    note = f"{one_by_one / wait:.0f} times as long; scaled from {sample:,}"
    show("naive: one SELECT per recipient", f"{one_by_one:.0f} s", note)


def first_request_after(ledger: Ledger, campaign: Campaign, audience: str, people: int) -> float:
    """Seconds; the rest of the audience stays undone, so that this can be repeated."""
    message = SmsMessage("{{lead.First Name:default=there}}, 20 % off.")
    operator = SendSmsMessageOperator(task_id="send", audience=audience, list_id="1201", message=message)
    operator._bound_message(audience)
    stop = threading.Event()
    step = InstantStep(at_first=stop.set)
    plan = Plan(campaign, FINGERPRINT, concurrency=THREADS)
    began = time.monotonic()
    with suppress(Stopped):
        Dispatcher(ledger, step, plan, stop).run(partial(operator._everybody_once, audience), people)
    return step.first_at - began


if __name__ == "__main__":
    main()
