"""Which secrets open, how soon a new one does, and what is said while nobody can know."""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
import time

import pytest

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.plugin import door as door_module
from airflow_sms_flow.plugin.door import Account, Door, Unsure


class Connections:
    """Airflow's connections, as they stand now; an exception in place of an account is raised."""

    def __init__(self, **found: Account | Exception) -> None:
        self.found = found
        self.reads = 0

    def read(self, conn_id: str) -> Account:
        self.reads += 1
        account = self.found[conn_id]
        if isinstance(account, Exception):
            raise account
        return account

    def door(self) -> Door:
        return Door(self.found, self.read)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "_READ_EVERY_SECONDS", 0.05)
    for patience in ("_PATIENCE_SECONDS", "_CONFIRM_SECONDS"):
        monkeypatch.setattr(door_module, patience, 10.0)  # a busy machine is no failure


def test_each_secret_stands_for_the_company_of_its_connection() -> None:
    """Several connections, several secrets each: the old one opens while the new one is taken up."""
    door = Connections(us=Account("acme", ("new", "old")), eu=Account("acme-eu", ("other",))).door()

    async def ask() -> list[str | None]:
        return [await door.company_behind(secret) for secret in ("new", "old", "other", "none", "", "nеw")]

    assert asyncio.run(ask()) == ["acme", "acme", "acme-eu", None, None, None]


def test_a_secret_opens_as_soon_as_it_stands_in_the_connection() -> None:
    """Its first callback may come a moment after it was saved, and a 404 would destroy it."""
    connections = Connections(us=Account("acme", ("old",)))
    door = connections.door()

    async def ask() -> str | None:
        assert await door.company_behind("old") == "acme"
        connections.found["us"] = Account("acme", ("new", "old"))
        return await door.company_behind("new")

    assert asyncio.run(ask()) == "acme"


def test_a_secret_that_was_taken_away_opens_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a minute at the latest."""
    connections = Connections(us=Account("acme", ("new", "old")))
    door = connections.door()

    async def ask() -> str | None:
        assert await door.company_behind("old") == "acme"
        connections.found["us"] = Account("acme", ("new",))
        assert await door.company_behind("old") == "acme"
        monkeypatch.setattr(door_module, "_KEEP_SECONDS", 0.0)
        return await door.company_behind("old")

    assert asyncio.run(ask()) is None


def test_a_thousand_wrong_secrets_do_not_read_the_connections_a_thousand_times() -> None:
    """They share a look; it happens once in a while, however many ask."""
    connections = Connections(us=Account("acme", ("right",)))
    door = connections.door()

    async def ask() -> None:
        await door.look()
        await asyncio.gather(*(door.company_behind(f"wrong {n}") for n in range(1000)))

    asyncio.run(ask())
    assert connections.reads <= 4


@pytest.mark.parametrize(
    "broken",
    [ConfigError("there is no connection 'eu'"), OSError("database gone")],
    ids=["missing", "unreachable"],
)
def test_while_a_connection_cannot_be_read_an_unknown_secret_may_be_right(
    broken: Exception,
) -> None:
    """It gets "later", not 404; the other connections' secrets open meanwhile."""
    door = Connections(us=Account("acme", ("right",)), eu=broken).door()

    async def ask() -> str | None:
        with pytest.raises(Unsure):
            await door.company_behind("unknown")
        return await door.company_behind("right")

    assert asyncio.run(ask()) == "acme"


def test_a_connection_without_a_secret_hides_none(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong secret is wrong, and not to be repeated for ever; whose set-up is unfinished is told."""
    door = Connections(us=Account("acme", ("right",)), eu=Account("acme-eu", ())).door()

    async def ask() -> list[str | None]:
        return [await door.company_behind(secret) for secret in ("unknown", "right")]

    assert asyncio.run(ask()) == [None, "acme"]
    assert "No callbacks are taken" in caplog.text
    assert "connection 'eu' has no callback_secrets" in caplog.text
    assert "503" not in caplog.text


def test_where_no_connection_has_a_secret_no_callback_is_given_up() -> None:
    """Vibes calls, so somebody has registered: the secret has been lost here."""
    door = Connections(us=Account("acme", ()), eu=Account("acme-eu", ())).door()

    async def ask() -> None:
        with pytest.raises(Unsure):
            await door.company_behind("unknown")

    asyncio.run(ask())


def test_what_was_known_opens_while_the_connections_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restart of Airflow's own database costs no callback."""
    monkeypatch.setattr(door_module, "_KEEP_SECONDS", 0.0)
    connections = Connections(us=Account("acme", ("right",)))
    door = connections.door()

    async def ask() -> str | None:
        assert await door.company_behind("right") == "acme"
        connections.found["us"] = OSError("database gone")
        return await door.company_behind("right")

    assert asyncio.run(ask()) == "acme"


def test_a_read_that_hangs_keeps_nobody_waiting_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vibes would not wait either. A secret that was known a minute ago opens, with time left to store."""
    monkeypatch.setattr(door_module, "_PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(door_module, "_CONFIRM_SECONDS", 1.0)
    release = threading.Event()
    release.set()

    def read(conn_id: str) -> Account:
        release.wait(10)
        return Account("acme", ("right",))

    door = Door(["us"], read)

    async def ask() -> tuple[str | None, float, float]:
        await door.look()
        release.clear()
        monkeypatch.setattr(door_module, "_KEEP_SECONDS", 0.0)
        began = time.monotonic()
        company = await door.company_behind("right")
        known = time.monotonic()
        try:
            with pytest.raises(Unsure):
                await door.company_behind("unknown")
            return company, known - began, time.monotonic() - known
        finally:
            release.set()

    company, known_after, unsure_after = asyncio.run(ask())
    assert company == "acme"
    assert 1.0 <= known_after < 1.9
    assert 2.0 <= unsure_after < 2.9, "one wait, not one after the other"


def test_a_secret_of_two_companies_opens_for_neither(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could tell whose callback it is; it is told, and repeated by Vibes until put right."""
    door = Connections(us=Account("acme", ("same", "own")), eu=Account("acme-eu", ("same",))).door()

    async def ask() -> str | None:
        with pytest.raises(Unsure):
            await door.company_behind("same")
        return await door.company_behind("own")

    assert asyncio.run(ask()) == "acme"
    assert "shares a callback secret" in caplog.text


def test_a_problem_is_told_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts the API server sees it; the log does not fill up; no secret stands in it."""
    caplog.set_level(logging.INFO)
    connections = Connections(us=ConfigError("there is no connection 'us'"))
    door = connections.door()

    async def look(times: int) -> None:
        for _ in range(times):
            await door.look()

    asyncio.run(look(3))
    assert caplog.text.count("there is no connection 'us'") == 1
    connections.found["us"] = Account("acme", ("very-secret",))
    asyncio.run(look(2))
    assert caplog.text.count("Callbacks are taken") == 1
    assert "very-secret" not in caplog.text + repr(connections.found["us"])


def test_who_never_set_up_callbacks_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    """A hint, no more; but half a set-up is worth a warning."""
    caplog.set_level(logging.INFO)
    asyncio.run(Connections(us=ConfigError("there is no connection 'us'")).door().look())
    asyncio.run(Connections(us=Account("acme", ())).door().look())
    assert {record.levelname for record in caplog.records} == {"INFO"}
    asyncio.run(Connections(us=Account("acme", ()), eu=Account("acme-eu", ("one",))).door().look())
    assert caplog.records[-1].levelname == "WARNING"


def test_a_strangers_error_is_told_by_its_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    """Its text may hold the connection."""
    door = Connections(us=RuntimeError("postgresql://user:pass-word@host")).door()
    asyncio.run(door.look())
    assert "RuntimeError" in caplog.text
    assert "pass-word" not in caplog.text


def test_a_secret_is_compared_with_all_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it matches the first, the last or none."""
    door = Connections(us=Account("acme", ("one", "two", "three"))).door()
    compared: list[bytes] = []
    real = hmac.compare_digest

    def count(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return real(left, right)

    async def ask(secret: str) -> int:
        compared.clear()
        await door.company_behind(secret)
        return len(compared)

    async def all_of_them() -> list[int]:
        await door.look()
        monkeypatch.setattr(hmac, "compare_digest", count)
        return [await ask("one"), await ask("three")]

    assert asyncio.run(all_of_them()) == [3, 3]
