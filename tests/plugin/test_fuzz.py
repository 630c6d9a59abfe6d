"""Whatever a caller sends: never a traceback, and while the store is up never "later"."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.schema import callbacks
from airflow_sms_flow.plugin import door as door_module
from airflow_sms_flow.plugin.door import Account, Door
from airflow_sms_flow.plugin.receiver import Receiver
from airflow_sms_flow.plugin.sources import Sources
from airflow_sms_flow.plugin.store import Store
from tests.plugin.asgi_caller import SECRET, Call

MAX_BYTES = 2_000
KEYS = [
    "event_id",
    "event_type",
    "event_date",
    "participant",
    "person",
    "subscription_added",
    "mdn",
    "action",
]

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=12,
)
# json.dumps writes half surrogates, NUL, NaN and Infinity as escapes and words that json.loads takes back.
any_body = st.binary(max_size=3_000) | any_json.map(lambda found: json.dumps(found).encode())
any_name = st.sampled_from([b"content-type", b"content-length", b"x-forwarded-for", b"host"]) | st.binary(
    min_size=1, max_size=40
)
any_address = st.ip_addresses().map(str) | st.sampled_from(["127.0.0.1", "::1", "10.0.0.1:80", "[::1]:9", ""])
any_header = st.tuples(any_name, st.binary(max_size=300) | any_address.map(str.encode))
any_method = st.sampled_from(["POST", "PUT", "GET", "HEAD", "OPTIONS"]) | st.text(max_size=10)
any_tail = st.just(SECRET) | st.text(max_size=40) | st.text(max_size=9).map(lambda text: f"{SECRET}{text}")


@st.composite
def any_call(draw: st.DrawFn) -> Call:
    body = draw(any_body)
    cut = draw(st.integers(0, len(body)))
    client = draw(st.none() | st.tuples(any_address | st.text(max_size=20), st.integers(0, 65_535)))
    headers = draw(st.lists(any_header, max_size=8))
    return Call(draw(any_method), draw(any_tail), headers, (body[:cut], body[cut:]), client)


@pytest.fixture
def inbox(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ledger, Store]]:
    monkeypatch.setattr(door_module, "_READ_EVERY_SECONDS", 0.0)
    store = Store(lambda: ledger, lambda: None)
    store.start()
    yield ledger, store
    store.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=any_call())
def test_any_request_gets_one_of_four_answers(
    call: Call, inbox: tuple[Ledger, Store], caplog: pytest.LogCaptureFixture
) -> None:
    """204, 404, 405 or 413; and 204 means that its very bytes lie in a real database."""
    ledger, store = inbox
    caplog.clear()
    receiver = Receiver(
        Door(["v"], lambda _: Account("acme", (SECRET,))),
        Sources(None, (ip_network("127.0.0.0/8"), ip_network("::1"))),
        store,
        MAX_BYTES,
    )
    status = asyncio.run(call.run(receiver))
    body = b"".join(chunk or b"" for chunk in call.chunks)
    if call.tail != SECRET:
        assert status == 404
    elif call.method not in ("POST", "PUT"):
        assert status == 405
    elif len(body) > MAX_BYTES:
        assert status == 413
    else:
        assert status == 204
        assert is_kept(ledger, body)
    assert SECRET not in repr(call.scope["path"]) + caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def is_kept(ledger: Ledger, body: bytes) -> bool:
    """These bytes, or another callback with the same id, which is a duplicate."""
    from airflow_sms_flow.core.callbacks import dedupe_key

    with ledger._engine.connect() as connection:
        same = connection.execute(select(callbacks.c.id).where(callbacks.c.body == body)).first()
        known: Any = select(callbacks.c.id).where(callbacks.c.dedupe_key == dedupe_key("acme", body))
        return same is not None or connection.execute(known).first() is not None
