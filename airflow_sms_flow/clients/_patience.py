"""How often and how long to ask again, and what an answer raises when patience is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import (
    BugError,
    ConfigError,
    OutcomeUnknown,
    QuotaExhausted,
    Stopped,
    Unavailable,
)

Stop = Callable[[], bool]

#: How often somebody who waits looks whether it was told to stop.
_GLANCE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Patience:
    """Exponential backoff with full jitter, bounded in number and time (all in seconds).

    `floors` are the shortest waits after an answer with that reason; the jitter comes on top.
    """

    attempts: int = 6
    seconds: float = 180.0
    first_wait: float = 0.5
    longest_wait: float = 20.0
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiter:
    """Waits that end at once, with `Stopped`, when the task is told to stop."""

    stop: Stop | None = None
    sleep: Callable[[float], None] = time.sleep

    def pause(self, seconds: float) -> None:
        """Sleep, looking up four times a second."""
        while True:
            if self.stop is not None and self.stop():
                raise Stopped("stopped while waiting for a vendor")
            if seconds <= 0:
                return
            self.sleep(min(seconds, _GLANCE_SECONDS))
            seconds -= _GLANCE_SECONDS

    def persist(self, attempt: Callable[[], Answer], patience: Patience) -> Answer:
        """Repeat while the answer is RETRY and patience lasts; gives the last answer, whatever it is."""
        jitter = wait_random_exponential(multiplier=patience.first_wait, max=patience.longest_wait)

        def wait(state: RetryCallState) -> float:
            return patience.floors.get(_last(state).reason or "", 0.0) + jitter(state)

        return Retrying(
            retry=retry_if_result(lambda answer: answer.kind is AnswerClass.RETRY),
            stop=stop_after_attempt(patience.attempts) | stop_after_delay(patience.seconds),
            wait=wait,
            sleep=self.pause,
            retry_error_callback=_last,
        )(attempt)


def _last(state: RetryCallState) -> Answer:
    assert state.outcome is not None  # tenacity asks only after an attempt
    answer: Answer = state.outcome.result()
    return answer


def value_or_raise(answer: Answer, hint: str = "") -> Any:
    """The value of a good answer; otherwise the error that says what the reader should do.

    `hint` is added to the text of CONFIG and REFUSED, where only the caller knows what was typed.
    """
    kind, text = answer.kind, answer.detail
    if kind in (AnswerClass.OK, AnswerClass.ALREADY):
        return answer.value
    if kind is AnswerClass.WAIT:
        raise QuotaExhausted(f"{text}; not before {answer.value:%Y-%m-%d %H:%M} UTC", answer.value)
    if kind is AnswerClass.RETRY:
        raise Unavailable(f"{text}; repeated without success: try again later")
    if kind is AnswerClass.BUG:
        raise BugError(f"{text}: please report this")
    if kind is AnswerClass.IN_DOUBT:
        raise OutcomeUnknown(f"{text}: it may have happened, look before repeating it")
    raise ConfigError(f"{hint}: {text}" if hint else text)
