"""The receiver in Airflow's own API server: its log, its processes, its store."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import create_engine, text

from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH
from tests.plugin.api_server import SECRETS, ApiServer, api_server
from tests.torture.postgres import postgres_server

pytestmark = pytest.mark.airflow

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def test_the_secret_stays_out_of_the_log_also_at_debug(tmp_path: Path) -> None:
    """Right, wrong and nearly right addresses, other methods, broken requests, websockets: the access log
    tells of each without what follows the path. The connection lies in Airflow's own database."""
    settings = {
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__LOGGING__UVICORN_LOGGING_LEVEL": "DEBUG",
    }
    with api_server(tmp_path, settings, stored=True) as server:
        for secret in SECRETS:
            address = f"{server.url}{CALLBACK_PATH}/{secret}"
            assert requests.post(address, json={"event_id": secret[:12]}).status_code == 204
            assert requests.get(address).status_code == 405
            assert requests.post(f"{address}/", data=b"{}").status_code == 404
            assert requests.post(f"{address}x", data=b"{}").status_code == 404
            assert requests.post(address, data=b"x" * 400_000).status_code == 413
            assert requests.get(address, headers=HANDSHAKE).status_code == 403
            for prefix in ("/wrong", "/"):
                requests.post(f"{server.url}{prefix}{CALLBACK_PATH}/{secret}", data=b"{}")
        fuzz(server)
        time.sleep(0.5)
    log = server.log.read_text()
    assert log.count(f"{CALLBACK_PATH}/***") + log.count(f"{CALLBACK_PATH}/%2A%2A%2A") > 20
    assert not [line for line in log.splitlines() if any(secret in line for secret in SECRETS)]
    assert "Traceback" not in log


def fuzz(server: ApiServer) -> None:
    """Requests that no client library would send. The server may refuse what is no HTTP; it never fails."""
    chance = random.Random(20261123)
    for number in range(200):
        body = chance.randbytes(chance.randrange(2_000))
        name = bytes(chance.choice(b"abcdefgh-") for _ in range(12))
        value = bytes(chance.choice(range(32, 256)) for _ in range(chance.randrange(200)))
        method = chance.choice([b"POST", b"PUT", b"PATCH"])
        tail = SECRETS[0].encode() if number % 40 else bytes(chance.choice(range(33, 127)) for _ in range(9))
        head = b"%s %s/%s HTTP/1.1\r\nHost: %s\r\n" % (
            method,
            CALLBACK_PATH.encode(),
            tail,
            value[:20].strip(),
        )
        head += b"x%s: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (name, value, len(body))
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as line:
            line.sendall(head + body)
            answered = line.makefile("rb").readline()
        assert answered.startswith(b"HTTP/1.1 "), (head, answered)
        assert int(answered.split()[1]) < 500, (head, answered)


@dataclass
class Outage:
    """A ledger's database that can be away for a while."""

    address: str
    settings: dict[str, str]

    @contextmanager
    def away(self) -> Iterator[None]:
        raise NotImplementedError
        yield

    def bodies(self) -> list[bytes]:
        """What lies in the inbox."""
        engine = create_engine(self.address)
        with engine.connect() as connection:
            found = [bytes(row[0]) for row in connection.execute(text("SELECT body FROM sms_flow_callbacks"))]
        engine.dispose()
        return found


class LockedSqlite(Outage):
    """Somebody else keeps the file's only writing lock."""

    @contextmanager
    def away(self) -> Iterator[None]:
        connection = sqlite3.connect(
            self.address.removeprefix("sqlite:///"), isolation_level=None, timeout=30
        )
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    if request.param == "sqlite":
        yield LockedSqlite(f"sqlite:///{tmp_path}/sms_flow/ledger.db", {})
        return
    with postgres_server() as server:
        if server is None:
            pytest.skip("no PostgreSQL programs here")

        class StoppedPostgres(Outage):
            @contextmanager
            def away(self) -> Iterator[None]:
                server.crash()
                yield
                server.start_again()

        address = server.make_database("inbox")
        connection = {
            "conn_type": "postgres",
            "host": "127.0.0.1",
            "port": server.port,
            "login": "sms",
            "schema": "inbox",
        }
        settings = {
            "AIRFLOW__SMS_FLOW__LEDGER_CONN_ID": "sms_ledger",
            "AIRFLOW_CONN_SMS_LEDGER": json.dumps(connection),
        }
        yield StoppedPostgres(address, settings)


def test_nothing_is_lost_while_the_store_is_away(tmp_path: Path, outage: Outage) -> None:
    """Two processes of the API server, callers at once, some callbacks twice. While the store is away every
    answer is 503, within Vibes' patience; when Vibes repeats, each callback lies in the inbox once."""
    with api_server(tmp_path, outage.settings, workers=2) as server, ThreadPoolExecutor(16) as callers:
        vibes = RepeatingVibes(server)
        vibes.deliver_until_kept(callers, range(200))
        with outage.away():
            meanwhile = list(callers.map(vibes.deliver, range(190, 240)))
        assert set(meanwhile) == {503}
        assert vibes.slowest < 4.0  # a second and a half, and a busy machine
        vibes.deliver_until_kept(callers, range(190, 240))
        vibes.deliver_until_kept(callers, range(230, 300))
        bodies = outage.bodies()
    assert sorted(json.loads(body)["event_id"] for body in bodies) == list(range(300))
    log = server.log.read_text()
    told = log.count("Callbacks are answered 503") + log.count("and are answered 503")
    assert 1 <= told <= 10  # not once per callback
    assert "Traceback" not in log


class RepeatingVibes:
    """Calls back, from several threads."""

    def __init__(self, server: ApiServer) -> None:
        self._address = server.address
        self._own = threading.local()
        self.slowest = 0.0

    def deliver(self, number: int) -> int:
        session: requests.Session = self._own.__dict__.setdefault("session", requests.Session())
        began = time.monotonic()
        answer = session.post(self._address, json={"event_id": number}, timeout=30)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer.status_code

    def deliver_until_kept(self, callers: ThreadPoolExecutor, numbers: range) -> None:
        """Repeats what got 503, also where it is only the machine that is busy."""
        until = time.monotonic() + 60
        left = list(numbers)
        while left:
            assert time.monotonic() < until
            answers = list(zip(left, callers.map(self.deliver, left), strict=True))
            assert {status for _, status in answers} <= {204, 503}
            left = [number for number, status in answers if status == 503]
