"""Whether callbacks arrive: Vibes' test event is fired, and looked for in the ledger's inbox (facts B.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import BugError, ConfigError, Stopped, Unavailable
from airflow_sms_flow.core.registrations import TESTED_TYPES, Need, Registration
from airflow_sms_flow.ledger import Arrival, Ledger
from airflow_sms_flow.steps.registrations import Registered, Registrar

#: By how much the clock of an API server may be behind the database's.
_CLOCKS_APART = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ArrivalCheck:
    """Fires one test event of each type that has one, and waits for it at our own door.

    The receiver must keep its inbox in this very ledger. What arrives is kept and never applied.
    """

    client: VibesClient
    ledger: Ledger
    company_key: str
    say: Callable[..., None] = lambda *words: None
    warn: Callable[..., None] = lambda *words: None
    stop: Callable[[], bool] = lambda: False
    look_every_seconds: float = 1.0

    def run(
        self, needs: Iterable[Need], elsewhere: Iterable[Registration], timeout_seconds: float
    ) -> dict[str, bool]:
        """Callback type -> True for each that was tested. Raises `Unavailable` for one that does not arrive
        in time, `ConfigError` where Vibes refuses the test."""
        deadline = time.monotonic() + timeout_seconds
        since = self.ledger.now() - _CLOCKS_APART
        tested = [self._fire(need, deadline) for need in _to_test(needs, tuple(elsewhere))]
        waiting = dict(tested)
        while waiting:
            for kind, event_id in list(waiting.items()):
                if self._has_arrived(kind, event_id, since):
                    del waiting[kind]
            if waiting and time.monotonic() > deadline:
                raise Unavailable(_not_arrived(waiting, timeout_seconds))
            if waiting:
                self._pause()
        return {kind: True for kind, _ in tested}

    def _fire(self, need: Need, deadline: float) -> tuple[str, str]:
        """The callback type and the event id under which it will come. A registration made a moment ago may
        not be known yet."""
        answer = self.client.fire_test_callback(need)
        while answer.reason == "not_registered" and time.monotonic() < deadline:
            self._pause()
            answer = self.client.fire_test_callback(need)
        return need.callback_type, _event_id(need, answer)

    def _has_arrived(self, kind: str, event_id: str, since: datetime) -> bool:
        arrival = self.ledger.note_test_callback(self.company_key, event_id, since)
        if arrival is Arrival.ABSENT:
            return False
        if arrival is Arrival.APPLIED:
            self.warn(
                "The test event of %s came back without our mark and was taken for a real one: the made-up "
                "person in it may stand in the ledger as a member or an ex-member. No text goes to anybody "
                "who is not on the list at Vibes; SyncSubscribersOperator puts the ledger right",
                kind,
            )
        self.say("The test event of %s has arrived", kind)
        return True

    def _pause(self) -> None:
        if self.stop():
            raise Stopped("stopped while waiting for test events: the registrations themselves stand")
        time.sleep(self.look_every_seconds)


def register_and_check(
    registrar: Registrar,
    check: ArrivalCheck | None,
    needs: Sequence[Need],
    *,
    replace_others: bool,
    timeout_seconds: float,
) -> tuple[Registered, dict[str, bool]]:
    """What was registered, and which test events arrived. What leads elsewhere goes last of all: with a
    check, only once test events have arrived here."""
    if check is None:
        return registrar.register(needs, replace_others=replace_others), {}
    done = registrar.register(needs, replace_others=False)
    arrived = check.run(needs, done.elsewhere, timeout_seconds)
    if replace_others and done.elsewhere:
        later = registrar.register(needs, replace_others=True)
        done = replace(done, replaced=done.replaced + later.replaced, elsewhere=later.elsewhere)
    return done, arrived


def _to_test(needs: Iterable[Need], elsewhere: tuple[Registration, ...]) -> list[Need]:
    """One of each type. Vibes tells a test to all who are registered: rather one that is ours alone."""
    by_type: dict[str, Need] = {}
    for need in sorted(needs, key=lambda one: any(one.is_same_as(other) for other in elsewhere)):
        by_type.setdefault(need.callback_type, need)
    return [by_type[kind] for kind in TESTED_TYPES if kind in by_type]


def _event_id(need: Need, answer: Answer) -> str:
    text = f"the registrations stand, but the test event of {need} failed: {answer.detail}"
    match answer.kind:
        case AnswerClass.OK:
            return str(answer.value)
        case AnswerClass.RETRY:
            raise Unavailable(text)
        case AnswerClass.BUG:
            raise BugError(text)
        case _:
            raise ConfigError(f"{text}. check_arrival=False leaves the test out")


def _not_arrived(kinds: Iterable[str], seconds: float) -> str:
    return (
        f"the registrations stand, but no test event arrived within {seconds:g} seconds for: "
        f"{', '.join(sorted(kinds))}. Check that the internet reaches [sms_flow] callback_url; that the API "
        f"server runs with this package, with the connection among [sms_flow] callback_conn_ids and with the "
        f"same callback_secrets; that [sms_flow] callback_sources lets Vibes' addresses in (behind a proxy: "
        f"callback_trusted_proxies); that it writes to the same ledger as this task; and that Vibes has not "
        f"set the address aside for a while after failures"
    )
