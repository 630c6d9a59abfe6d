"""One round of looks: whoever is due and within the budget is looked up at Vibes, and what was found is
stored. Sensors make it in a worker, triggers in a thread of their triggerer.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.errors import BugError, ConfigError, SmsFlowError, Stopped
from airflow_sms_flow.core.facts import CLOCK_SKEW, Joined
from airflow_sms_flow.core.opt_in import OptIn, OptInState, after_poll
from airflow_sms_flow.core.opt_in_wait import LookPlan
from airflow_sms_flow.core.phone import mask_phone

if TYPE_CHECKING:
    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.hooks.vibes import VibesHook
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.ledger.opt_in_looks import OptInLooks

log = logging.getLogger(__name__)

#: Lookups under way at once; these fill the vendor's limit of 100 calls a second at usual distances.
LOOKUP_THREADS = 24
#: Seconds to connect and to wait for an answer: a lookup is soon repeated, so it need not wait for long.
_TIMEOUT = (5.0, 15.0)
_BACKOFF = Backoff(attempts=4, longest_wait_seconds=5.0)
#: So many people in a row without an answer, and the rest is left to the next round.
_GIVE_UP_AFTER = 50
_NAMED_IN_LOG = 5
_CLAIMED_AT_ONCE = 200
#: A round with more to do ends here, so that others of its process have their turn.
_ROUND_SECONDS = 30.0

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Question:
    """What Vibes asked these people: whether they want to be on this list."""

    company_key: str
    list_id: str
    acquisition_campaign_id: str

    def looks(self, ledger: Ledger) -> OptInLooks:
        """Who is looked at when, for all who wait for this campaign."""
        return ledger.opt_in_looks(self.company_key, self.acquisition_campaign_id)

    def store(self, ledger: Ledger, changed: Mapping[str, OptIn], at: datetime) -> None:
        """Remember what looks found that were begun at `at`; what callbacks told meanwhile stays. Whoever was
        found on the list has joined it, and starts the DAGs that wait for that, had their callback been lost.
        """
        if not changed:
            return
        confirmed = [phone for phone, opt_in in changed.items() if opt_in.state is OptInState.CONFIRMED]
        # When they joined is not known, and a STOP bears the vendor's time: our clock must not beat it.
        joined = [Joined(self.list_id, phone, at - CLOCK_SKEW) for phone in confirmed]
        ledger.store_opt_ins(self.company_key, self.acquisition_campaign_id, self.list_id, changed, joined)


@dataclass(frozen=True, slots=True)
class Line:
    """A way to Vibes: a client, and threads to use it in."""

    client: VibesClient
    threads: ThreadPoolExecutor


@contextmanager
def open_line(hook: VibesHook, ledger: Ledger) -> Iterator[Line]:
    """A line that shares the account's rate limit with everybody else; its threads are gone afterwards."""
    with hook.sharing_client(ledger, timeout=_TIMEOUT, pool_maxsize=LOOKUP_THREADS) as client:
        threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="sms-flow-look")
        try:
            yield Line(client, threads)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def steady(start: datetime) -> Now:
    """A clock that begins at `start` and goes on evenly, whatever is done to the one on the wall."""
    began = time.monotonic()
    return lambda: start + timedelta(seconds=time.monotonic() - began)


@dataclass(slots=True)
class Round:
    """`found` is what the looks found; `left` people gave no answer and are looked at again."""

    ledger: Ledger
    question: Question
    plan: LookPlan
    now: Now
    halt: threading.Event
    told: bool
    found: dict[str, OptIn] = field(default_factory=dict)
    left: int = 0
    #: More people are due than this round had time for.
    is_cut_short: bool = False

    def run(self, line: Callable[[], AbstractContextManager[Line]]) -> None:
        """Raises `ConfigError` or `BugError` where Vibes refuses our request, `Stopped` soon after `halt` is
        set. `line` is opened where somebody is due."""
        end = time.monotonic() + _ROUND_SECONDS
        looks = self.question.looks(self.ledger)
        with ExitStack() as stack:
            opened = None
            while claimed := looks.claim(self.now(), self.plan, _CLAIMED_AT_ONCE, told=self.told):
                try:
                    opened = opened or stack.enter_context(line())
                    answered = self._ask(opened, looks, claimed)
                except SmsFlowError:
                    looks.look_again(dict.fromkeys(claimed, self.now()))
                    raise
                except BaseException:  # a time-out of Airflow's too: the lookups must not go on behind it
                    self.halt.set()
                    raise
                self.is_cut_short = time.monotonic() > end
                if not answered or self.is_cut_short:
                    return

    def _ask(self, line: Line, looks: OptInLooks, claimed: dict[str, OptIn]) -> bool:
        """Whether Vibes answers."""
        began = self.now()
        lookup = _Lookup(line.client, self.question, self.now, self.halt)
        try:
            answers = list(line.threads.map(lookup.ask, claimed, claimed.values()))
        except BaseException:
            lookup.is_over = True
            raise
        seen = {phone: answer for phone, answer in zip(claimed, answers, strict=True) if answer is not None}
        changed = {phone: seen[phone] for phone in seen if seen[phone] != claimed[phone]}
        self.question.store(self.ledger, changed, began)
        unanswered = claimed.keys() - seen.keys()
        soon = dict.fromkeys(unanswered, self.now() + timedelta(seconds=self.plan.first_seconds))
        second = {phone: self.plan.second(opt_in) for phone, opt_in in seen.items()}
        looks.look_again(soon | {phone: at for phone, at in second.items() if at is not None})
        self.found |= seen
        self.left += len(unanswered)
        return not lookup.gave_up


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
        #: Somebody else's lookup failed for good, so the others that were handed out are not begun.
        self.is_over = False

    @property
    def gave_up(self) -> bool:
        """So many in a row had no answer that the rest was not asked about."""
        return self._unanswered_in_a_row >= _GIVE_UP_AFTER

    def ask(self, phone: str, opt_in: OptIn) -> OptIn | None:
        """The state after this look; None where there was no answer, and nothing is known anew."""
        if self.gave_up or self.is_over:
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
        """Pending? Otherwise: on the list? One call for who still waits, and one where the window is over."""
        began = self._now()
        over = began > opt_in.expired_after
        if not over:
            pending = self._find(self._client.find_pending, self._question.acquisition_campaign_id, phone)
            if pending.kind is not AnswerClass.OK:
                return pending
            if pending.value is not None:
                return after_poll(opt_in, at=began, pending=True, subscribed=False)
        on_list = self._find(self._client.find_subscriber, self._question.list_id, phone)
        if on_list.kind is AnswerClass.REFUSED and over:
            # Vibes has nobody under such a number, and will not have: nothing would ever decide it.
            return after_poll(opt_in, at=began, pending=False, subscribed=False)
        if on_list.kind is not AnswerClass.OK:
            return on_list
        found = after_poll(opt_in, at=began, pending=False, subscribed=on_list.value is not None)
        # Calls wait for their turn: the second look must be 30 s after the end of the first, not its start.
        return replace(found, absent_since=self._now()) if found.absent_since == began else found

    def _find(self, call: Callable[..., Answer], where: str, phone: str) -> Answer:
        # Waiting for the slot ends with `halt`; the client is shared, and stops for nobody.
        slot = self._client.rings.calls.take(self._halt.is_set)
        answer = call(where, mdn=phone, slot=slot)
        # CONFIG and BUG are about every request.
        if answer.kind is AnswerClass.CONFIG:
            raise ConfigError(answer.detail)
        if answer.kind is AnswerClass.BUG:
            raise BugError(f"{answer.detail}: please report this")
        return answer

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
