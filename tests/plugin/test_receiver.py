"""What the receiver answers, and what lies in the inbox afterwards."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.plugin import door as door_module
from airflow_sms_flow.plugin import receiver as receiver_module
from airflow_sms_flow.plugin import store as store_module
from airflow_sms_flow.plugin.door import Account, Door
from airflow_sms_flow.plugin.hiding import HidingMiddleware, hide_in_server_logs
from airflow_sms_flow.plugin.receiver import Receiver
from airflow_sms_flow.plugin.sources import Sources
from airflow_sms_flow.plugin.store import Store
from tests.plugin.asgi_caller import SECRET, Call
from tests.plugin.inboxes import MemoryInbox

ANYWHERE = Sources(None, ())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "_READ_EVERY_SECONDS", 0.01)


@pytest.fixture
def inbox() -> MemoryInbox:
    return MemoryInbox()


@pytest.fixture
def store(inbox: MemoryInbox) -> Iterator[Store]:
    store = Store(lambda: inbox, lambda: None)
    store.start()
    yield store
    store.close()


def open_door() -> Door:
    return Door(["vibes_default"], lambda _: Account("acme", (SECRET,)))


def status_of(store: Store, call: Call, *, sources: Sources = ANYWHERE, max_bytes: int = 1_000) -> int:
    return asyncio.run(call.run(Receiver(open_door(), sources, store, max_bytes)))


def only(inbox: MemoryInbox) -> RawCallback:
    (found,) = inbox.rows.values()
    return found


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_callback_is_on_disk_before_it_is_answered(store: Store, inbox: MemoryInbox, method: str) -> None:
    """Raw body, headers and caller as they came, under the company that the secret stands for."""
    headers = [(b"Content-Type", b"application/json"), (b"X-Type", b"a"), (b"x-type", b"b")]
    call = Call(method, headers=headers, chunks=(b'{"event', b'_id": "e1"}'))
    assert status_of(store, call) == 204
    row = only(inbox)
    assert row.company_key == "acme"
    assert row.body == b'{"event_id": "e1"}'
    assert row.headers == {"content-type": "application/json", "x-type": "a, b"}
    assert row.source == "203.0.113.7"
    assert row.received_at.tzinfo is not None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"event_id": null}', b"[" * 900, b"9" * 900],
    ids=["empty", "cut off", "a list", "null", "no text", "without an id", "deep", "a huge number"],
)
def test_a_body_that_nobody_understands_is_kept(store: Store, inbox: MemoryInbox, body: bytes) -> None:
    """A 4XX would destroy it; perhaps the next version understands it."""
    assert status_of(store, Call(chunks=(body,))) == 204
    assert only(inbox).body == body


@pytest.mark.parametrize("event_id", ['"\\u0000"', '"\\ud800"', f'"{"x" * 5_00}"', "1e999", "{}", "true"])
def test_an_id_that_no_database_takes_is_no_key(store: Store, inbox: MemoryInbox, event_id: str) -> None:
    """NUL and half surrogates are valid JSON and invalid text for PostgreSQL."""
    assert status_of(store, Call(chunks=(f'{{"event_id": {event_id}}}'.encode(),))) == 204
    key = only(inbox).dedupe_key
    assert key.isprintable()
    assert len(key) <= 200
    key.encode()


def test_the_same_callback_twice_is_one_row(store: Store, inbox: MemoryInbox) -> None:
    """Both are answered well: at least once is what Vibes promises."""
    for _ in range(2):
        assert status_of(store, Call(chunks=(b'{"event_id": 7}',))) == 204
    assert len(inbox.rows) == 1


def test_a_wrong_secret_and_a_wrong_place_look_alike(store: Store, inbox: MemoryInbox) -> None:
    """404 without a word, whatever the method; the body is not even read."""
    elsewhere = Sources((ip_network("198.51.100.0/24"),), ())
    calls = [
        (Call(tail="wrong"), ANYWHERE),
        (Call("GET", tail="wrong"), ANYWHERE),
        (Call(tail=""), ANYWHERE),
        (Call(tail=f"{SECRET}/"), ANYWHERE),
        (Call(tail=f"{SECRET}/more"), ANYWHERE),
        (Call(), elsewhere),
        (Call("GET"), elsewhere),
    ]
    for call, sources in calls:
        call.chunks = ()  # to read it would take ten seconds
        assert status_of(store, call, sources=sources) == 404
    assert len({repr(call.answer) for call, _ in calls}) == 1
    assert not inbox.rows


def answers(receiver: Receiver, *calls: Call) -> list[int]:
    """Of one API server, one after the other, once it has read its connections."""

    async def call_all() -> list[int]:
        await receiver._door.look()
        return [await call.run(receiver) for call in calls]

    return asyncio.run(call_all())


def test_whoever_has_the_secret_and_is_turned_away_is_told_of(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in a while, by address: 404 is final for Vibes, and such a setting would lose every callback."""
    elsewhere = Sources((ip_network("198.51.100.0/24"),), (ip_network("10.0.0.0/8"),))
    receiver = Receiver(open_door(), elsewhere, store, 1_000)
    assert answers(receiver, *(Call() for _ in range(3))) == [404] * 3
    assert caplog.text.count("203.0.113.7 is not among [sms_flow] callback_sources") == 1
    assert SECRET not in caplog.text


def test_a_proxy_that_names_nobody_is_told_of(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The warning says what it can."""
    sources = Sources((ip_network("198.51.100.0/24"),), (ip_network("10.0.0.0/8"),))
    receiver = Receiver(open_door(), sources, store, 1_000)
    headers = [(b"x-forwarded-for", b"unknown")]
    assert answers(receiver, Call(client=("10.0.0.1", 4000), headers=headers)) == [404]
    assert "whom the proxy does not name" in caplog.text


def test_a_secret_that_came_later_is_known_to_the_warning_as_well(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where everybody is turned away, nobody else has the connections read again."""
    monkeypatch.setattr(door_module, "_KEEP_SECONDS", 0.0)
    account = Account("acme", ("old-secret-0123456789",))
    door = Door(["vibes_default"], lambda _: account)
    receiver = Receiver(door, Sources((ip_network("198.51.100.0/24"),), ()), store, 1_000)

    async def call_until_told() -> None:
        nonlocal account
        await door.look()
        account = Account("acme", (SECRET,))
        async with asyncio.timeout(10):
            while "is not among [sms_flow] callback_sources" not in caplog.text:
                assert await Call().run(receiver) == 404
                await asyncio.sleep(0.01)

    asyncio.run(call_until_told())


@pytest.mark.parametrize(
    ("sources", "caller", "told"),
    [
        (ANYWHERE, "35.155.139.143", True),
        (ANYWHERE, "203.0.113.7", False),
        (Sources((ip_network("203.0.113.0/24"),), ()), "203.0.113.7", True),
    ],
    ids=["Vibes", "a stranger", "a place that a setting names"],
)
def test_a_secret_that_vibes_has_and_we_have_not_is_told_of(
    store: Store, caplog: pytest.LogCaptureFixture, sources: Sources, caller: str, told: bool
) -> None:
    """It was dropped while a registration still carries it; what strangers try is not worth a line."""
    receiver = Receiver(open_door(), sources, store, 1_000)
    calls = (Call(tail="dropped-secret", client=(caller, 4000)) for _ in range(3))
    assert answers(receiver, *calls) == [404] * 3
    assert caplog.text.count("register again") == told
    assert "dropped-secret" not in caplog.text


def test_strangers_are_turned_away_without_a_line(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they try."""
    elsewhere = Sources((ip_network("198.51.100.0/24"),), ())
    assert answers(Receiver(open_door(), elsewhere, store, 1_000), Call(tail="wrong")) == [404]
    assert "404" not in caplog.text


def test_a_place_that_is_not_allowed_learns_nothing_of_the_secret(store: Store) -> None:
    """It is turned away before any connection is read for it."""

    def never(conn_id: str) -> Account:
        raise AssertionError

    receiver = Receiver(Door(["v"], never), Sources((ip_network("198.51.100.0/24"),), ()), store, 1_000)
    assert asyncio.run(Call().run(receiver)) == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_another_method_on_the_right_address_is_told_which_to_use(store: Store, method: str) -> None:
    """Somebody tries the address in a browser."""
    call = Call(method)
    assert status_of(store, call) == 405
    assert (b"allow", b"POST, PUT") in call.answer[0]["headers"]


def test_a_body_is_counted_as_it_comes(store: Store, inbox: MemoryInbox) -> None:
    """Content-Length may lie in both directions; nothing is kept of what is too large."""
    lie = [(b"content-length", b"2")]
    endless = Call(headers=lie, chunks=tuple(b"x" * 100 for _ in range(1_000)))
    assert status_of(store, endless) == 413
    assert not inbox.rows
    assert status_of(store, Call(chunks=(b"x" * 1_000,))) == 204
    assert status_of(store, Call(headers=[(b"content-length", b"9999999")], chunks=(b"small",))) == 204


def test_a_caller_who_hangs_up_or_never_goes_on_is_left(
    store: Store, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a callback is none: 503 would be repeated, if anybody still listened."""
    monkeypatch.setattr(receiver_module, "_BODY_SECONDS", 0.05)
    assert status_of(store, Call(chunks=(b"{", None))) == 503
    assert status_of(store, Call(chunks=())) == 503
    assert not inbox.rows


def test_a_store_that_is_down_is_answered_503(store: Store, inbox: MemoryInbox) -> None:
    """And the repeat is kept."""
    inbox.down = True
    assert status_of(store, Call()) == 503
    inbox.down = False
    assert status_of(store, Call()) == 204


def test_a_slow_door_and_a_slow_store_share_the_callers_patience(
    store: Store, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vibes has some two seconds for both; what is stored all the same is recognised when it repeats."""
    monkeypatch.setattr(door_module, "_PATIENCE_SECONDS", 0.8)
    monkeypatch.setattr(store_module, "_PATIENCE_SECONDS", 0.8)
    inbox.seconds = 0.5

    def slow(conn_id: str) -> Account:
        time.sleep(0.5)
        return Account("acme", (SECRET,))

    receiver = Receiver(Door(["vibes_default"], slow), ANYWHERE, store, 1_000)
    assert asyncio.run(Call().run(receiver)) == 503


def test_while_no_secret_can_be_read_everything_is_later(store: Store) -> None:
    """A connection that is missing costs no callback."""

    def missing(conn_id: str) -> Account:
        raise ConfigError(f"there is no connection {conn_id!r}")

    receiver = Receiver(Door(["vibes_default"], missing), ANYWHERE, store, 1_000)
    assert asyncio.run(Call().run(receiver)) == 503


def test_an_error_of_our_own_is_503_and_no_traceback(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Vibes repeats it; the log names its kind."""

    def broken(*_: object) -> str:
        raise KeyError(SECRET)

    monkeypatch.setattr(receiver_module, "_kept_headers", broken)
    assert status_of(store, Call()) == 503
    assert "KeyError" in caplog.text
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


def test_headers_are_kept_without_anybodys_secrets(store: Store, inbox: MemoryInbox) -> None:
    """A proxy may hand the whole address on in one of them; nor do they fill the ledger."""
    headers = [
        (b"authorization", b"Basic c2VjcmV0"),
        (b"cookie", b"_token=abc"),
        (b"x-original-uri", f"/sms-flow/callbacks/{SECRET}".encode()),
        (b"x-umlaut", "ü".encode("latin-1")),
        *((f"x-{n}".encode(), b"y" * 1_000) for n in range(100)),
    ]
    assert status_of(store, Call(headers=headers)) == 204
    kept = only(inbox).headers
    assert kept["authorization"] == kept["cookie"] == "***"
    assert kept["x-original-uri"] == "/sms-flow/callbacks/***"
    assert kept["x-umlaut"] == "ü"
    assert 10 < len(kept) < 25


def test_the_path_is_hidden_from_whoever_logs_it(store: Store) -> None:
    """The access log prints the scope after the answer."""
    for call in (Call(), Call(tail="nearly-the-secret"), Call("GET")):
        status_of(store, call)
        assert call.scope["path"] == "/sms-flow/callbacks/***"
        assert call.scope["raw_path"] == b"/sms-flow/callbacks/***"


@pytest.mark.parametrize(
    "path",
    [
        f"/wrong/prefix/sms-flow/callbacks/{SECRET}",
        f"//sms-flow/callbacks/{SECRET}",
        f"/sms-flow/callbacks{SECRET}",
    ],
)
def test_an_address_that_is_nearly_right_is_hidden_as_well(path: str) -> None:
    """As where a proxy forgot to strip a prefix: nothing of ours answers, but the secret is real."""
    seen = []

    async def app(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def server(message: Any) -> None:
        assert SECRET not in scope["path"]

    scope: dict[str, Any] = {"type": "http", "path": path, "raw_path": path.encode()}
    asyncio.run(HidingMiddleware(app)(scope, None, server))  # type: ignore[arg-type]  # nothing is received
    assert seen == [path]
    assert SECRET not in repr(scope)


def test_the_servers_own_loggers_hide_it_as_well(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they say before or beside the application; the arguments stay as many as they were."""
    for name in ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error"):
        # A server that ran in this process has left them with handlers of their own.
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.DEBUG, logger=name)
    hide_in_server_logs()
    address = f"/sms-flow/callbacks/{SECRET}"
    scope = {"type": "http", "path": address, "status": 200}
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', "203.0.113.7:1", "POST", address, "1.1", 204)
    logging.getLogger("uvicorn.asgi").debug("Started scope=%s", scope)
    logging.getLogger("uvicorn.error").debug(f"< GET {address} HTTP/1.1")
    assert SECRET not in caplog.text
    assert len(caplog.records[0].args or ()) == 5
    assert 'POST /sms-flow/callbacks/*** HTTP/1.1" 204' in caplog.text


def test_other_requests_pass_the_hiding_untouched() -> None:
    """Airflow's own are none of our business."""
    scope = {"type": "http", "path": "/api/v2/dags", "raw_path": b"/api/v2/dags"}
    before = dict(scope)

    async def app(inner: Any, receive: Any, send: Any) -> None:
        assert inner is scope

    asyncio.run(HidingMiddleware(app)(scope, None, None))  # type: ignore[arg-type]  # nothing is exchanged
    assert scope == before


def test_a_callback_too_large_is_told_to_the_operator(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is lost: somebody has to know."""
    caplog.set_level(logging.WARNING)
    status_of(store, Call(chunks=(b"x" * 2_000,)))
    assert "413" in caplog.text
