"""What every call to Vibes goes through: the account, its rate limits, and one attempt over the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_sms_flow.clients import vibes_answers as answers
from airflow_sms_flow.clients._patience import Patience, Stop, Waiter, value_or_raise
from airflow_sms_flow.clients._transport import Transport
from airflow_sms_flow.clients._wire import Call, NoReply, Outcome, Timeout, as_objects, normalise_host
from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.core.errors import InvalidInput

#: Version 2 takes numbers in E.164; Content-Type is required even where there is no body (facts A.0).
_HEADERS = {"X-API-Version": "2", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class VibesRings:
    """Rate limits per company key: 300 events a second, 100 of anything else (facts A.0)."""

    events: Ring = field(default_factory=lambda: Ring(300))
    calls: Ring = field(default_factory=lambda: Ring(100))


class VibesAccount:
    """One company's account at Vibes. Threads may share it; `pool_maxsize` should be their number.

    `timeout` is (connect, read) in seconds. `stop` is asked while waiting for the rate limit or between
    repeats; once it says True, `Stopped` is raised. Raises `InvalidInput` for an unusable setting.
    """

    def __init__(
        self,
        *,
        host: str,
        company_key: str,
        username: str,
        password: str,
        timeout: Timeout = (5.0, 30.0),
        rings: VibesRings | None = None,
        pool_maxsize: int = 32,
        stop: Stop | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not company_key.strip():
            raise InvalidInput("company_key", company_key, "put the account's company key in the connection")
        if not username or not password:
            raise InvalidInput(
                "login", "(empty)", "put login and password of the Vibes API into the connection"
            )
        self._company_key = company_key.strip()
        self._transport = Transport(
            normalise_host(host), timeout=timeout, pool_maxsize=pool_maxsize, auth=(username, password)
        )
        self.rings = rings or VibesRings()
        self._stop = stop
        self._patience = patience or Patience()
        self._waiter = Waiter(stop, sleep)

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def _call(
        self,
        method: str,
        template: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        path: Mapping[str, str] | None = None,
    ) -> Call:
        return Call(method, template, {"company_key": self._company_key, **(path or {})}, query or {}, body)

    def _ask(self, ring: Ring, call: Call, slot: Slot | None) -> Outcome:
        """Ask once, in a slot. Without an answer the slot is held longer: the server may count it late."""
        held = slot or ring.take(self._stop)
        hold_seconds = self._transport.timeout[1]
        try:
            outcome = self._transport.exchange(call, _HEADERS)
            if not isinstance(outcome, NoReply) or not outcome.sent:
                hold_seconds = 0.0
            if not isinstance(outcome, NoReply) and outcome.status == 429:
                ring.slow_down()
            return outcome
        finally:
            held.give_back(hold_seconds)

    def _get(self, call: Call, parse: Callable[[object], object], hint: str = "", missing: Any = None) -> Any:
        """A reading call with patience; `missing` is the value for the vendor's 404, where it has one."""
        answer = self._waiter.persist(
            lambda: answers.read_setup(call, self._ask(self.rings.calls, call, None), parse), self._patience
        )
        if missing is not None and answer.reason == "not_found":
            return missing
        return value_or_raise(answer, hint)


def many(parse: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    """A parser of an array of what `parse` reads."""
    return lambda value: tuple(parse(item) for item in as_objects(value))
