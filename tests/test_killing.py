"""Real processes that are killed or suspended in the middle of sending: nobody twice, nobody lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.step import Recipient
from tests.ledger.moves import path_of
from tests.scripted_step import people
from tests.sending_process import CAMPAIGN, CONCURRENCY, LEASE
from tests.torture.seeds import FRESH_SEED


class Phones(ThreadingHTTPServer):
    """Counts the texts that arrive, per number."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.answer_seconds = 0.01
        phones = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with phones.lock:
                    phones.texts[self.path[1:]] += 1
                time.sleep(phones.answer_seconds)
                self.send_response(202)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No number in a log, here neither."""

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """A killed sender hangs up."""

    def wait_for(self, texts: int) -> None:
        """Until so many arrived."""
        deadline = time.monotonic() + 30
        while sum(self.texts.values()) < texts:
            assert time.monotonic() < deadline, "the sender does not send"
            time.sleep(0.002)


@pytest.fixture
def phones() -> Iterator[Phones]:
    """A server in this process, which survives every sender."""
    server = Phones()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def start(address: str, phones: Phones, count: int) -> subprocess.Popen[str]:
    """A sender as a process of its own."""
    arguments = [sys.executable, "-m", "tests.sending_process", address, str(phones.server_port), str(count)]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        arguments, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(address: str, phones: Phones, count: int) -> None:
    """A last sender, which nobody disturbs."""
    sender = start(address, phones, count)
    output, errors = sender.communicate(timeout=60)
    assert sender.returncode == 0, errors
    assert output.startswith("attempted ")


def account_for(ledger: Ledger, phones: Phones, who: list[Recipient]) -> Counter[str]:
    """Nobody got two; everybody is accepted (and got one) or in doubt. Returns how many stand where."""
    rows = ledger.rows(ledger.dispatch_id(CAMPAIGN), [one.phone for one in who])
    assert max(phones.texts.values()) == 1
    assert rows.keys() == {one.phone for one in who}
    for phone, row in rows.items():
        assert row.state in ("accepted", "in_doubt")
        assert phones.texts[phone] == 1 or row.state == "in_doubt"
        assert path_of(ledger, phone, CAMPAIGN)[-1] is row.state
    return Counter(row.state.value for row in rows.values())


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("sqlite", 1), ("postgres", 2), ("sqlite", FRESH_SEED)],
    ids=["sqlite", "postgres", f"seed-{FRESH_SEED}"],
)
def test_a_sender_that_is_killed_again_and_again_reaches_everybody_once(
    request: pytest.FixtureRequest, phones: Phones, kind: str, seed: int
) -> None:
    """SIGKILL at any moment leaves at most one doubt per thread and kill; a retry does the rest."""
    address: str = request.getfixturevalue(f"{kind}_address")
    chance, who, kills = random.Random(seed), people(400), 3
    for _ in range(kills):
        sender = start(address, phones, len(who))
        phones.wait_for(sum(phones.texts.values()) + chance.randint(1, 60))
        time.sleep(chance.uniform(0, 0.05))
        sender.kill()
        sender.communicate()
    assert sum(phones.texts.values()) < len(who), "killed too late to prove anything"
    finish(address, phones, len(who))
    ledger = Ledger.open(address)
    stood = account_for(ledger, phones, who)
    assert stood["in_doubt"] <= kills * CONCURRENCY
    ledger.close()


def suspend_between_transactions(sender: subprocess.Popen[str], ledger: Ledger) -> None:
    """Stop it where it holds no lock: with one, the retry would simply fail until it is gone."""
    while True:
        sender.send_signal(signal.SIGSTOP)
        try:
            ledger.dispatch_id(CAMPAIGN)
        except LedgerError:
            sender.send_signal(signal.SIGCONT)
            time.sleep(0.03)
        else:
            return


def test_a_suspended_sender_that_wakes_up_after_its_retry_reaches_nobody_twice(
    sqlite_address: str, phones: Phones
) -> None:
    """Airflow lost sight of it and started a retry; then the machine wakes up again."""
    who = people(120)
    phones.answer_seconds = 0.1
    ledger = Ledger.open(sqlite_address, busy_seconds=0.2)
    old = start(sqlite_address, phones, len(who))
    phones.wait_for(20)
    suspend_between_transactions(old, ledger)
    before = sum(phones.texts.values())
    began = time.monotonic()
    phones.answer_seconds = 0.01
    finish(sqlite_address, phones, len(who))
    assert time.monotonic() - began > LEASE.seconds + LEASE.answer_seconds - 0.5
    assert account_for(ledger, phones, who)["in_doubt"] <= CONCURRENCY
    arrived = sum(phones.texts.values())
    assert before < arrived
    old.send_signal(signal.SIGCONT)
    _, errors = old.communicate(timeout=30)
    assert old.returncode != 0
    assert "lease of this task ran out" in errors
    assert account_for(ledger, phones, who)["in_doubt"] <= CONCURRENCY
    ledger.close()
