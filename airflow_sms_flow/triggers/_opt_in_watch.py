"""The people of one pending audience, polled round by round; shared by the sensor, which decides and writes
down, and by its trigger, which only reads.

Imported inside methods only: it brings the libraries for files and numbers along.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Stopped
from airflow_sms_flow.core.opt_in import ABSENCE, OptIn, OptInState, after_poll, is_worth_a_look
from airflow_sms_flow.core.phone import mask_phone

if TYPE_CHECKING:
    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.ledger import Ledger

log = logging.getLogger(__name__)

#: Lookups under way at once; these fill the vendor's limit of 100 calls a second at usual distances.
POLL_THREADS = 24
#: For the client of a poll. Seconds to connect and to wait for an answer: a lookup is soon repeated, so it
#: need not wait for long.
POLL_OPTIONS: Mapping[str, Any] = MappingProxyType({"timeout": (5.0, 15.0), "pool_maxsize": POLL_THREADS})

#: For whom Vibes named no end of the confirm window: the 24 hours that it usually is (facts A.2).
_USUAL_WINDOW = timedelta(hours=24)
_BACKOFF = Backoff(attempts=4, longest_wait_seconds=5.0)
#: So many people in a row without an answer, and the rest is left to the next round.
_GIVE_UP_AFTER = 50
_NAMED_IN_LOG = 5
_BATCH = 10_000
_STORED_AT_ONCE = 500

Now = Callable[[], datetime]
Store = Callable[[Mapping[str, OptIn]], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What Vibes asked these people: whether they want to be on this list."""

    company_key: str
    list_id: str
    acquisition_campaign_id: str


@dataclass(frozen=True, slots=True)
class _Person:
    opt_in: OptIn
    #: The ledger knows this state; not so where it has no row yet, or one about a newer question.
    is_stored: bool = True
    may_be_stored: bool = True


class OptInWatch:
    """What the ledger knew of each person (`known`), and what polls have `seen` since.

    One thread at a time may use it.
    """

    def __init__(self, question: Question, people: Mapping[str, _Person]) -> None:
        self.question = question
        self.known = {phone: person.opt_in for phone, person in people.items()}
        self.seen = dict(self.known)
        self._unstored = {phone for phone, person in people.items() if not person.is_stored}
        self._never_stored = {phone for phone, person in people.items() if not person.may_be_stored}

    @classmethod
    def load(cls, ledger: Ledger, question: Question, path: str, now: datetime) -> OptInWatch:
        """Read file and ledger. Raises `InvalidInput` for a file that is no pending audience."""
        from airflow_sms_flow.storage import read_batches

        check_pending_columns(path)
        people: dict[str, _Person] = {}
        for batch in read_batches(path, ("phone", "expire_date"), _BATCH):
            column: Any = batch.column("phone")
            phones: list[str] = column.to_pylist()
            stored = ledger.opt_ins(question.company_key, question.acquisition_campaign_id, phones)
            for phone, expire_at in zip(phones, _utc_times(batch.column("expire_date")), strict=True):
                people[phone] = _where_it_stands(stored.get(phone), expire_at, now)
        return cls(question, people)

    def undecided(self) -> list[str]:
        """Those who may still confirm, as far as was seen."""
        return [phone for phone, opt_in in self.seen.items() if opt_in.state is OptInState.PENDING]

    def counts(self) -> dict[str, int]:
        """People by state; every state is there."""
        found = Counter(opt_in.state for opt_in in self.seen.values())
        return {state.value: found[state] for state in OptInState}

    def poll(
        self, client: VibesClient, *, now: Now, halt: threading.Event, store: Store | None = None
    ) -> int:
        """Look once for everybody undecided; returns how many were left out because Vibes did not answer.

        What changed goes to `store` in batches. Raises `ConfigError` or `BugError` where Vibes refuses our
        request, `Stopped` soon after `halt` is set; each of them sets `halt`.
        """
        lookup = _Lookup(client, self.question, now, halt)
        waiting = iter(self.undecided())
        left = 0
        with _threads(halt) as pool:
            while phones := list(islice(waiting, _STORED_AT_ONCE)):
                found = pool.map(lambda phone: lookup.ask(phone, self.seen[phone]), phones)
                for phone, opt_in in zip(phones, list(found), strict=True):
                    left += opt_in is None
                    self.seen[phone] = opt_in or self.seen[phone]
                if store is not None:
                    self._store(store, phones)
        return left

    def _store(self, store: Store, phones: Iterable[str]) -> None:
        changed = {
            phone: self.seen[phone]
            for phone in phones
            if phone not in self._never_stored
            and (phone in self._unstored or self.seen[phone] != self.known[phone])
        }
        store(changed)
        self.known.update(changed)
        self._unstored.difference_update(changed)

    # -- for the trigger: when the sensor should look -----------------------------------------------------

    def is_due(self, at: datetime, needed: int | None, decline_lead: timedelta) -> bool:
        """Whether the sensor's own poll is worth a worker slot now.

        It is when that poll would carry everybody on, or when enough have confirmed. It also is when somebody
        seems to have declined and the sensor, which must see it twice, has less than `decline_lead` left
        before it could no longer be told from an expiry.
        """
        if needed is not None and self.counts()["confirmed"] >= needed:
            return True
        everybody = True
        for phone in self._unknown():
            known, seen = self.known[phone], self.seen[phone]
            if not is_worth_a_look(known, seen, at=at):
                everybody = False
                continue
            is_soon_lost = known.expire_at - decline_lead < at < known.expire_at
            if is_soon_lost and seen.state is not OptInState.CONFIRMED:
                return True
        return everybody

    def next_look_at(self, at: datetime, poll_interval: timedelta) -> datetime:
        """After the interval, or earlier where that decides: at the last expiry, or at the second look for
        those whom the sensor found absent."""
        marks = [at + poll_interval]
        waiting = [self.known[phone] for phone in self._unknown()]
        expiries = [opt_in.expired_after + timedelta(seconds=1) for opt_in in waiting]
        seconds = [
            opt_in.absent_since + ABSENCE
            for opt_in in waiting
            if opt_in.absent_since is not None and opt_in.absent_since + ABSENCE < opt_in.expire_at
        ]
        marks += [max(times) for times in (expiries, seconds) if times and max(times) > at]
        return min(marks)

    def _unknown(self) -> list[str]:
        return [phone for phone, opt_in in self.known.items() if opt_in.state is OptInState.PENDING]


def check_pending_columns(path: str) -> None:
    """Raise `InvalidInput` unless this file has what Subscribe's pending audience has."""
    import pyarrow as pa

    from airflow_sms_flow.storage import read_schema

    schema = read_schema(path)
    missing = [name for name in ("phone", "expire_date") if name not in schema.names]
    if missing:
        remedy = (
            f"has no column {', '.join(missing)}: pass what Subscribe pushed, `subscribe.output['pending']`"
        )
        raise InvalidInput("audience", path, remedy)
    kind = schema.field("expire_date").type
    if not pa.types.is_timestamp(kind):
        remedy = f"holds {kind} in expire_date, not times: pass what Subscribe pushed"
        raise InvalidInput("audience", path, remedy)


class _Lookup:
    """Where one person stands now. Threads share it."""

    def __init__(self, client: VibesClient, question: Question, now: Now, halt: threading.Event) -> None:
        self._client = client
        self._question = question
        self._now = now
        self._halt = halt
        self._guard = threading.Lock()
        self._unanswered = 0
        self._unanswered_in_a_row = 0

    def ask(self, phone: str, opt_in: OptIn) -> OptIn | None:
        """The state after this poll; None where there was no answer, and nothing is known anew."""
        if self._unanswered_in_a_row >= _GIVE_UP_AFTER:
            return None
        attempt = 1
        while not isinstance(found := self._once(phone, opt_in), OptIn):
            if found.kind is AnswerClass.REFUSED or attempt == _BACKOFF.attempts:
                self._leave(phone, found)
                return None
            if self._halt.wait(_BACKOFF.wait_seconds(attempt, random.random())):
                raise Stopped("stopped while looking for replies")
            attempt += 1
        self._unanswered_in_a_row = 0
        return found

    def _once(self, phone: str, opt_in: OptIn) -> OptIn | Answer:
        """On the list? Otherwise: pending? That order costs two calls for who waits, and shows at once
        who joined by another way while the question stood."""
        began = self._now()
        over = began > opt_in.expired_after
        on_list = self._client.find_subscriber(self._question.list_id, mdn=phone)
        _raise_if_fatal(on_list)
        if on_list.kind is AnswerClass.REFUSED and over:
            # Vibes has nobody under such a number, and will not have: nothing would ever decide it.
            return after_poll(opt_in, at=began, pending=False, subscribed=False)
        if on_list.kind is not AnswerClass.OK:
            return on_list
        if on_list.value is not None or over:
            return after_poll(opt_in, at=began, pending=False, subscribed=on_list.value is not None)
        pending = self._client.find_pending(self._question.acquisition_campaign_id, mdn=phone)
        _raise_if_fatal(pending)
        if pending.kind is not AnswerClass.OK:
            return pending
        found = after_poll(opt_in, at=began, pending=pending.value is not None, subscribed=False)
        # Calls wait for their turn: the second look must be 30 s after the end of the first, not its start.
        return replace(found, absent_since=self._now()) if found.absent_since == began else found

    def _leave(self, phone: str, answer: Answer) -> None:
        with self._guard:
            self._unanswered += 1
            # A refusal is an answer: fifty odd numbers do not keep the others from being looked up.
            self._unanswered_in_a_row += answer.kind is not AnswerClass.REFUSED
            told = self._unanswered <= _NAMED_IN_LOG
            gave_up = self._unanswered_in_a_row == _GIVE_UP_AFTER and answer.kind is not AnswerClass.REFUSED
        if told:
            log.warning(
                "%s could not be looked up and is looked up again: %s", mask_phone(phone), answer.detail
            )
        if gave_up:
            log.warning("Vibes does not answer: the others are looked up in the next round")


def _raise_if_fatal(answer: Answer) -> None:
    """CONFIG and BUG are about every request."""
    if answer.kind is AnswerClass.CONFIG:
        raise ConfigError(answer.detail)
    if answer.kind is AnswerClass.BUG:
        raise BugError(f"{answer.detail}: please report this")


def _where_it_stands(stored: OptIn | None, expire_at: datetime | None, now: datetime) -> _Person:
    """What the ledger knows of this question; a person who was asked again stands at its beginning."""
    if expire_at is None:
        return _Person(stored) if stored else _Person(OptIn(now + _USUAL_WINDOW), is_stored=False)
    if stored is not None and stored.expire_at == expire_at:
        return _Person(stored)
    is_older = stored is not None and stored.expire_at > expire_at
    return _Person(OptIn(expire_at), is_stored=False, may_be_stored=not is_older)


def _utc_times(column: Any) -> list[datetime | None]:
    """Times as Python has them, in UTC; a time without zone is UTC, as everywhere in our files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times: list[datetime | None] = pc.cast(column, pa.timestamp("us", tz="UTC"), safe=False).to_pylist()
    return [None if time is None else time.astimezone(UTC) for time in times]


@contextmanager
def _threads(halt: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that are gone afterwards; an error tells them to end first."""
    pool = ThreadPoolExecutor(POLL_THREADS, thread_name_prefix="sms-flow-poll")
    try:
        yield pool
    except BaseException:  # a time-out of Airflow's too: the polls must not go on behind it
        halt.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
