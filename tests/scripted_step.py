"""A flow step without a vendor: each recipient's answers are written down beforehand."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.steps.step import Go, Recipient

OK = Answer(AnswerClass.OK, "accepted", "answered 202")
RETRY = Answer(AnswerClass.RETRY, "rate_limited", "answered 429")
LOST = Answer(AnswerClass.IN_DOUBT, "no_answer", "no answer")
REJECTED = Answer(AnswerClass.REFUSED, "unprocessable", "answered 422")

Scripted = Answer | Callable[[], Answer]
#: What a look finds: an answer, or leave to go on.
Look = Answer | Callable[[], Answer | Go]


def people(count: int) -> list[Recipient]:
    """So many different recipients."""
    return [Recipient(n, f"+1202555{n:04}") for n in range(count)]


class ScriptedStep:
    """`answers` are given one after the other, then OK for ever; `looks` likewise, then Go."""

    def __init__(
        self,
        answers: Mapping[str, Iterable[Scripted]] | None = None,
        looks: Mapping[str, Iterable[Look]] | None = None,
        *,
        repeats_in_doubt: bool = False,
        doubt_matters: bool = True,
        always: Scripted = OK,
        late_effect_seconds: float = 0.0,
    ) -> None:
        self.effects = Ring(10_000)
        self.repeats_in_doubt = repeats_in_doubt
        self.doubt_matters = doubt_matters
        self.late_effect_seconds = late_effect_seconds
        self._always = always
        self._answers = {phone: list(script) for phone, script in (answers or {}).items()}
        self._looks = {phone: list(script) for phone, script in (looks or {}).items()}
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.event_ids: dict[str, set[str]] = defaultdict(set)
        self.seen: list[DeliveryState | None] = []

    def play_looks(self, recipient: Recipient, *looks: Look) -> None:
        """What the next looks at this person find."""
        with self._lock:
            self._looks.setdefault(recipient.phone, []).extend(looks)

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """The next look, or Go."""
        with self._lock:
            self.seen.append(seen)
            script = self._looks.get(recipient.phone)
            look = script.pop(0) if script else None
        if look is None:
            return Go()
        return look() if callable(look) else look

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """The next answer, or the usual one."""
        with slot:
            with self._lock:
                self.requests[recipient.phone] += 1
                self.event_ids[recipient.phone].add(event_id)
                script = self._answers.get(recipient.phone)
                answer = script.pop(0) if script else self._always
            return answer() if callable(answer) else answer

    def blames_request(self, answer: Answer) -> bool:
        """As Send does."""
        return answer.reason == "unprocessable"
