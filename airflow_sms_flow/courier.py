"""One recipient at a time: decide, claim, act, settle; again after a passing fault.

The engine's threads (`dispatch`) share one courier. What an answer means for the whole task is raised here.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.delivery import Campaign, DeliveryState, is_settled
from airflow_sms_flow.core.errors import (
    BugError,
    ConfigError,
    InvalidInput,
    LedgerError,
    QuotaExhausted,
    Stopped,
)
from airflow_sms_flow.core.opt_in import USUAL_WINDOW
from airflow_sms_flow.core.phone import mask_phone
from airflow_sms_flow.ledger import Lease, TaskTry
from airflow_sms_flow.ledger.deliveries import Move, Outcome
from airflow_sms_flow.ledger.writer import Writer
from airflow_sms_flow.outage import OutageRules, OutageWatch, Turn
from airflow_sms_flow.progress import Progress
from airflow_sms_flow.steps.step import Decided, Recipient, Step

log = logging.getLogger(__name__)

#: A look at the list may be this old when the request leaves (DESIGN "Membership").
LOOK_VALID_SECONDS = 60.0
#: When the first answers of a task all refuse the request itself, it is our request that is wrong.
BUG_AFTER_REFUSALS = 20

#: What the clients say of a vendor that does not answer, or not as itself.
_ILL = frozenset({"no_answer", "unreachable", "server_error", "unavailable", "unreadable", "foreign_404"})

_OLD_LOOK = Answer(AnswerClass.RETRY, detail="waited too long since the look at the list")

_STATE_OF = {
    AnswerClass.OK: DeliveryState.ACCEPTED,
    AnswerClass.ALREADY: DeliveryState.ALREADY,
    AnswerClass.REFUSED: DeliveryState.REFUSED,
    AnswerClass.IN_DOUBT: DeliveryState.IN_DOUBT,
    # It did not happen: the next attempt, or the next try, goes on.
    AnswerClass.RETRY: DeliveryState.OPEN,
    AnswerClass.WAIT: DeliveryState.OPEN,
    AnswerClass.BUG: DeliveryState.OPEN,
    AnswerClass.CONFIG: DeliveryState.OPEN,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One try of one step over one audience."""

    campaign: Campaign
    #: Of the message: a row that stands with another one is noticed.
    fingerprint: str
    task_try: TaskTry = field(default_factory=TaskTry)
    concurrency: int = 32
    lease: Lease = field(default_factory=Lease)
    backoff: Backoff = field(default_factory=Backoff)
    outage: OutageRules = field(default_factory=OutageRules)
    #: Skip a number that the same text reached on this list so recently (Send, manual runs).
    repeat_within: timedelta | None = None
    #: Ask again those who were asked longer ago than this (Subscribe).
    ask_again_after: timedelta | None = None
    #: How long requests in flight may finish after a stop; Airflow kills hard after five seconds.
    finish_seconds: float = 3.5

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidInput("concurrency", self.concurrency, "at least one request at a time: 1 or more")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A delivery in doubt: under which claim its request left, and for how long it stands so."""

    claim_id: str | None
    age_seconds: float


class Courier:
    """Brings one delivery after another to its end. Threads share it.

    `halt` ends waiting; `lease_stands` tells whether claims of this try still count; `doubt_of` reads from
    the ledger what is in doubt of a number, None where nothing is.
    """

    def __init__(
        self,
        step: Step,
        plan: Plan,
        writer: Writer,
        progress: Progress,
        halt: threading.Event,
        lease_stands: Callable[[], bool],
        doubt_of: Callable[[str], Doubt | None],
    ) -> None:
        self._step = step
        self._plan = plan
        self._writer = writer
        self._progress = progress
        self._halt = halt
        # Apart: looks that go well say nothing of requests that all fail.
        self._looks = OutageWatch(plan.outage)
        self._effects = OutageWatch(plan.outage)
        self._lease_stands = lease_stands
        self._doubt_of = doubt_of
        self._guard = threading.Lock()
        self._refused_first: list[Recipient] | None = []
        self._request_is_wrong = False

    def deliver(self, recipient: Recipient, seen: DeliveryState | None) -> bool:
        """Attempt until the delivery is settled, a bounded number of times; then it stays open. False: it was
        left to another try, which moved it meanwhile and may not be done with it.

        Raises what ends the whole task: `ConfigError`, `BugError`, `QuotaExhausted`, `Unavailable`,
        `LedgerError`, `Stopped`.
        """
        backoff, answer = self._plan.backoff, None
        try:
            for attempt in range(1, backoff.attempts + 1):
                answer, seen = self._attempt(recipient, seen)
                if not self._try_again(answer):
                    self._progress.count("finished")
                    return True
                if self._halt.wait(backoff.wait_seconds(attempt, random.random())):
                    return True
        except _TakenByAnother:
            return False
        log.warning("%s is left as it stands for now (%s)", mask_phone(recipient.phone), seen or "untouched")
        if seen not in (None, DeliveryState.OPEN) and answer is not None and answer.kind is AnswerClass.RETRY:
            self._progress.count("left")  # the row itself does not tell that this try did not get to them
        return True

    def _try_again(self, answer: Answer | None) -> bool:
        if answer is None:
            return False
        harmless = self._step.repeats_in_doubt
        return answer.kind is AnswerClass.RETRY or (answer.kind is AnswerClass.IN_DOUBT and harmless)

    def _attempt(
        self, recipient: Recipient, seen: DeliveryState | None
    ) -> tuple[Answer | None, DeliveryState | None]:
        """One attempt: its answer (None: the delivery is not ours to make), and where it stands now.
        Raises `_TakenByAnother`."""
        # Before the look: what another try asks after it, the look cannot have found.
        lost = self._lost_claim_id(recipient) if seen is DeliveryState.IN_DOUBT else None
        # Both before the look, so that none grows old while its request waits for the end of an outage.
        with self._looks.turn(self._halt) as look, self._effects.turn(self._halt) as effect:
            return self._attempt_in_turn(recipient, seen, lost, look, effect)

    def _attempt_in_turn(
        self, recipient: Recipient, seen: DeliveryState | None, lost: str | None, look: Turn, effect: Turn
    ) -> tuple[Answer | None, DeliveryState | None]:
        began = time.monotonic()
        decision = self._step.decide(recipient, seen)
        if isinstance(decision, Answer):
            if not isinstance(decision, Decided):
                look.tell(failed=_says_ill(decision))
            return self._record(recipient, seen, decision)
        if decision.looked:
            look.tell(failed=False)
        # Whatever ends this attempt, the other tasks want the slot back.
        with self._step.effects.take(self._halt.is_set) as slot:
            if _is_old(began):
                return _OLD_LOOK, seen
            claim_id = uuid.uuid4().hex
            if not self._claim(recipient, seen, claim_id, lost):
                return None, seen
            if _is_old(began):  # the claim may have waited long for the database
                return _OLD_LOOK, self._take_back(recipient, seen, claim_id, _OLD_LOOK.detail)
            self._progress.count("attempted")
            event_id = self._plan.campaign.event_id(recipient.phone)
            answer = self._step.act(recipient, decision, slot, event_id)
            effect.tell(failed=_says_ill(answer))
            return self._settle(recipient, answer, claim_id, seen)

    def _lost_claim_id(self, recipient: Recipient) -> str | None:
        """The claim of the doubt that the next look is about, once its request must have shown whatever it
        did. None where it is in doubt no more: then no claim of ours is made."""
        doubt = self._doubt_of(recipient.phone)
        if doubt is None:
            return None
        if self._halt.wait(max(0.0, self._step.late_effect_seconds - doubt.age_seconds)):
            raise Stopped("stopped while waiting for what a lost request did")
        return doubt.claim_id

    def _claim(
        self, recipient: Recipient, seen: DeliveryState | None, claim_id: str, lost_claim_id: str | None
    ) -> bool:
        """Whether the claim is ours, on disk, and our lease still stands."""
        since = self._plan.repeat_within
        claim = Move(
            recipient.phone,
            DeliveryState.CLAIMED,
            "request leaves",
            seen=seen,
            claim_id=claim_id,
            lost_claim_id=lost_claim_id,
            not_if_sent_since=datetime.now(UTC) - since if since is not None else None,
            again_after=self._plan.ask_again_after,
        )
        outcome = self._writer.write(claim)
        if not outcome.moved:
            _leave_to_others(outcome)
            return False
        stands = self._lease_stands()
        if stands and not self._halt.is_set():
            return True
        # Suspended or starved in between: others may already count this row as in doubt.
        why = "stopped before the request left" if stands else "lease ran out before the request left"
        self._take_back(recipient, seen, claim_id, why)
        if stands:
            raise Stopped(why)
        raise LedgerError("the lease of this task ran out before a request left: nothing was sent")

    def _take_back(
        self, recipient: Recipient, seen: DeliveryState | None, claim_id: str, why: str
    ) -> DeliveryState | None:
        """End a claim under which nothing left; returns where the delivery stands then."""
        back = DeliveryState.IN_DOUBT if self._is_in_doubt(seen) else DeliveryState.OPEN
        reason = "no_answer" if back is DeliveryState.IN_DOUBT else None
        return self._writer.write(Move(recipient.phone, back, why, reason, claim_id=claim_id)).state

    def _settle(
        self, recipient: Recipient, answer: Answer, claim_id: str, seen: DeliveryState | None
    ) -> tuple[Answer | None, DeliveryState | None]:
        to, why, reason = _STATE_OF[answer.kind], answer.detail or "answered", answer.reason
        if to is DeliveryState.IN_DOUBT and not self._step.doubt_matters:
            to = DeliveryState.OPEN  # to leave a list twice is to leave it once: the next try sees to it
        open_to_repeats = not is_settled(to, reason) or self._step.blames_request(answer)
        if self._is_in_doubt(seen) and open_to_repeats:
            # That this request did not happen says nothing of the earlier one, which still may have.
            to, why, reason = DeliveryState.IN_DOUBT, f"an earlier request in doubt; {why}", "no_answer"
        self._progress.count(to.value)
        settlement = Move(recipient.phone, to, why, reason, claim_id=claim_id, expire_at=_expiry(answer))
        outcome = self._writer.write(settlement)
        if not outcome.moved:
            log.warning("A late answer for %s found its row settled already", mask_phone(recipient.phone))
        self._suspect_our_request(recipient, answer)
        _raise_if_fatal(answer)
        return answer if outcome.moved else None, outcome.state

    def _is_in_doubt(self, seen: DeliveryState | None) -> bool:
        return seen is DeliveryState.IN_DOUBT and self._step.doubt_matters

    def _record(
        self, recipient: Recipient, seen: DeliveryState | None, answer: Answer
    ) -> tuple[Answer | None, DeliveryState | None]:
        """Write down a decision that needed no request of effect. What is in doubt stays so, unless the
        decision settles it for good: a refusal of ours (not on the list today) would be looked at again, and
        sent as if nothing had left before."""
        to, state = _STATE_OF[answer.kind], seen
        doubt_is_over = seen is DeliveryState.IN_DOUBT and not self._step.doubt_matters
        if to is DeliveryState.OPEN and seen is not None and not doubt_is_over:
            pass  # nothing new is known
        elif self._is_in_doubt(seen) and not is_settled(to, answer.reason):
            self._progress.count(DeliveryState.IN_DOUBT.value)
        else:
            why = answer.detail or "decided without a request"
            move = Move(
                recipient.phone,
                to,
                why,
                answer.reason,
                seen=seen,
                expire_at=_expiry(answer),
                again_after=self._plan.ask_again_after,
            )
            outcome = self._writer.write(move)
            if not outcome.moved:
                _leave_to_others(outcome)
                _raise_if_fatal(answer)
                return None, outcome.state  # another try is through with them: nothing of ours is left to do
            state = outcome.state
            self._progress.count(to.value)
        _raise_if_fatal(answer)
        return answer, state

    def _suspect_our_request(self, recipient: Recipient, answer: Answer) -> None:
        """BUG when the first answers of the task all refuse the request itself, whoever it was for."""
        with self._guard:
            if self._refused_first is None:
                return
            if not self._step.blames_request(answer):
                self._refused_first = None
                return
            self._refused_first.append(recipient)
            if len(self._refused_first) < BUG_AFTER_REFUSALS and not self._request_is_wrong:
                return
            # Whoever is under way in another thread now is refused later, and comes by here alone.
            self._request_is_wrong = True
            refused, self._refused_first = self._refused_first, []
        why = "the first answers all refused our request: it is wrong, not these people"
        for one in refused:
            self._writer.write(Move(one.phone, DeliveryState.OPEN, why, seen=DeliveryState.REFUSED))
        raise BugError(
            f"the first {BUG_AFTER_REFUSALS} requests were all refused ({answer.detail}): our request is "
            f"wrong, nobody of them counts as refused. Please report this with the version in use"
        )


class _TakenByAnother(Exception):
    """Another try moved this delivery since we looked, and may not be done with it."""


def _leave_to_others(outcome: Outcome) -> None:
    """Raise `_TakenByAnother` where a move of ours was refused for a state that is not the last word."""
    if outcome.overtaken and outcome.state in _UNFINISHED:
        raise _TakenByAnother


_UNFINISHED = (DeliveryState.CLAIMED, DeliveryState.OPEN, DeliveryState.IN_DOUBT)


def _is_old(looked_at: float) -> bool:
    return time.monotonic() - looked_at > LOOK_VALID_SECONDS


def _says_ill(answer: Answer) -> bool:
    """Whether this answer, or its absence, speaks of an outage; our being too fast does not."""
    return answer.kind in (AnswerClass.RETRY, AnswerClass.IN_DOUBT) and answer.reason in _ILL


def _raise_if_fatal(answer: Answer) -> None:
    """CONFIG, BUG and WAIT are about the whole task."""
    match answer.kind:
        case AnswerClass.CONFIG:
            raise ConfigError(answer.detail)
        case AnswerClass.BUG:
            raise BugError(answer.detail)
        case AnswerClass.WAIT:
            raise QuotaExhausted(answer.detail, answer.value)


def _expiry(answer: Answer) -> datetime | None:
    """Until when a pending opt-in may be answered, where the answer is about one. Where Vibes does not say,
    for the usual time from now: without it, who was asked before would be taken to have answered by then."""
    found: datetime | None = getattr(answer.value, "expire_date", None)
    is_pending = answer.kind in (AnswerClass.OK, AnswerClass.ALREADY) and answer.reason == "pending"
    return datetime.now(UTC) + USUAL_WINDOW if found is None and is_pending else found
