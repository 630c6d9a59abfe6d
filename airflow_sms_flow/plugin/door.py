"""Which secrets open the address that Vibes calls back, and for which company.

They stand in Airflow connections and may change while the API server runs. A wrong 404 would destroy a
callback for ever (facts B.5), so a secret counts as wrong only when every connection has been read after it
came in; where one cannot be read, or none has any secret, the answer is "later".
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from airflow_sms_flow.core.errors import ConfigError, SmsFlowError

log = logging.getLogger(__name__)

#: How old what we know may be: so long a secret that was taken away still opens.
_KEEP_SECONDS = 30.0
#: Unknown secrets make us read the connections again, but no more often than this.
_READ_EVERY_SECONDS = 1.0
#: How long a caller waits for that. Vibes' own patience is about two seconds.
_PATIENCE_SECONDS = 1.5
#: How much of it goes into asking whether a secret that is known still stands.
_CONFIRM_SECONDS = 0.5


_LATER = (
    "Callbacks with a secret that is not known are answered 503, so that Vibes repeats them, until this is "
    "put right: %s"
)
_NEVER = "No callbacks are taken for one of [sms_flow] callback_conn_ids: %s"


@dataclass(frozen=True, slots=True)
class Account:
    """What one connection says: whose callbacks come in, and with which secrets."""

    company_key: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a connection opens nothing. `level`: who never meant to have callbacks need not be warned.
    `hides`: it may have a secret that we do not know."""

    text: str
    level: int = logging.WARNING
    hides: bool = True


class Unsure(Exception):
    """The secret is unknown, but not every connection could be read."""


class Door:
    """Use it in one event loop. `read` gives the account of a connection and may block."""

    def __init__(self, conn_ids: Iterable[str], read: Callable[[str], Account]) -> None:
        self._conn_ids = tuple(conn_ids)
        self._read = read
        self._accounts: dict[str, Account] = {}
        self._problems: dict[str, _Problem] = {}
        self._companies: dict[bytes, str] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def company_behind(self, secret: str) -> str | None:
        """The company key that this secret stands for, or None. Raises `Unsure`."""
        arrived = time.monotonic()
        offered = _digest(secret)
        if arrived - self._read_at > _KEEP_SECONDS:
            await self._read_after(arrived, _CONFIRM_SECONDS)
        company = _match(self._companies, offered)
        if company is None:
            # It may have been added a moment ago, and registered with Vibes right away.
            await self._read_after(arrived, _PATIENCE_SECONDS)
            company = _match(self._companies, offered)
        if company is None and (self._read_at < arrived or not self._is_complete()):
            raise Unsure
        return company

    def knew(self, secret: str) -> bool:
        """Whether it opened when the connections were last read. Nobody waits for another look, but one
        begins where it is due."""
        if time.monotonic() - self._read_at > _KEEP_SECONDS:
            self._begin_to_read()
        return _match(self._companies, _digest(secret)) is not None

    async def look(self) -> None:
        """Read the connections now, so that whoever starts the API server sees what is wrong."""
        await self._read_after(time.monotonic(), _PATIENCE_SECONDS)

    def _is_complete(self) -> bool:
        return bool(self._companies) and not any(one.hides for one in self._problems.values())

    async def _read_after(self, moment: float, seconds: float) -> None:
        """Return once everything was read after `moment`, or when so many seconds have passed since."""
        while self._read_at < moment and (left := moment + seconds - time.monotonic()) > 0:
            await asyncio.wait({self._begin_to_read()}, timeout=left)

    def _begin_to_read(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return self._reading

    async def _read_all(self) -> None:
        await asyncio.sleep(max(0.0, self._read_at + _READ_EVERY_SECONDS - time.monotonic()))
        began = time.monotonic()
        found = await asyncio.to_thread(lambda: {one: self._read_one(one) for one in self._conn_ids})
        accounts = {one: account for one, (account, _) in found.items() if account is not None}
        problems = {one: problem for one, (_, problem) in found.items() if problem is not None}
        companies = _by_secret(accounts, problems)
        self._tell(companies, problems)
        self._accounts, self._problems, self._companies = accounts, problems, companies
        self._read_at = began

    def _read_one(self, conn_id: str) -> tuple[Account | None, _Problem | None]:
        try:
            account = self._read(conn_id)
        except ConfigError as error:
            return None, _Problem(str(error), logging.INFO)
        except SmsFlowError as error:
            return None, _Problem(str(error))
        except Exception as error:  # a database that is down, say: what was known before stands meanwhile
            return self._accounts.get(conn_id), _Problem(f"connection {conn_id!r}: {type(error).__name__}")
        if not account.secrets:
            text = f"connection {conn_id!r} has no callback_secrets"
            return None, _Problem(text, logging.INFO, hides=False)
        return account, None

    def _tell(self, companies: Mapping[bytes, str], problems: Mapping[str, _Problem]) -> None:
        """Each change once, not every 30 seconds."""
        for conn_id, problem in problems.items():
            if self._problems.get(conn_id) != problem:
                log.log(
                    logging.WARNING if companies else problem.level,
                    _LATER if problem.hides or not companies else _NEVER,
                    problem.text,
                )
        if not problems and (self._problems or self._read_at == float("-inf")):
            log.info("Callbacks are taken: %d secret(s) of %s", len(companies), ", ".join(self._conn_ids))


def _by_secret(accounts: Mapping[str, Account], problems: dict[str, _Problem]) -> dict[bytes, str]:
    """Digest to company key. A secret that two companies share opens for neither: nobody could tell whose
    callback it is."""
    companies: dict[bytes, str] = {}
    shared = set()
    for conn_id, account in accounts.items():
        for secret in account.secrets:
            if companies.setdefault(_digest(secret), account.company_key) != account.company_key:
                shared.add(_digest(secret))
                problems[conn_id] = _Problem(
                    f"connection {conn_id!r} shares a callback secret with another company's"
                )
    return {digest: company for digest, company in companies.items() if digest not in shared}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _match(companies: Mapping[bytes, str], offered: bytes) -> str | None:
    """Compares with all, each in constant time, so that the time taken says nothing."""
    found = None
    for digest, company in companies.items():
        if hmac.compare_digest(digest, offered):
            found = company
    return found
