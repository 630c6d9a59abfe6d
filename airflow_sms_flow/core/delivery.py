"""The states of a delivery, the moves allowed between them, and the name that a delivery carries for ever.

A *delivery* is one step (send, subscribe, unsubscribe) for one phone number on one list under one campaign
key: the unit that must happen at most once. DESIGN "Sending exactly once".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from airflow_sms_flow.core.errors import InvalidInput


class StepName(StrEnum):
    """The three flow steps, as they stand in the ledger and in reports."""

    SEND = "send"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class DeliveryState(StrEnum):
    """Where a delivery stands. A delivery that nobody touched yet has no row and no state."""

    OPEN = "open"  #: known not to have happened; the next try may claim it
    CLAIMED = "claimed"  #: the request leaves or has left; its answer is not in yet
    IN_DOUBT = "in_doubt"  #: it may have happened, and nobody is waiting for the answer any more
    ACCEPTED = "accepted"  #: the vendor took it (a text is not yet delivered by that)
    ALREADY = "already"  #: there was nothing to do
    REFUSED = "refused"  #: it will not happen, for the reason given
    SKIPPED = "skipped"  #: we chose not to, for the reason given


_ANYTHING_BUT_WAITING = frozenset(
    {DeliveryState.CLAIMED, DeliveryState.ALREADY, DeliveryState.REFUSED, DeliveryState.SKIPPED}
)

#: from -> the states it may move to. None is a delivery without a row.
MOVES: dict[DeliveryState | None, frozenset[DeliveryState]] = {
    None: _ANYTHING_BUT_WAITING | {DeliveryState.OPEN},
    DeliveryState.OPEN: _ANYTHING_BUT_WAITING | {DeliveryState.OPEN, DeliveryState.ACCEPTED},
    DeliveryState.CLAIMED: frozenset(DeliveryState) - {DeliveryState.CLAIMED, DeliveryState.SKIPPED},
    # A late answer, a callback or a person tells what happened; a harmless step simply repeats.
    DeliveryState.IN_DOUBT: frozenset(DeliveryState) - {DeliveryState.IN_DOUBT, DeliveryState.SKIPPED},
    # Asking again after `ask_again_after`, and a failure that Vibes tells late.
    DeliveryState.ACCEPTED: frozenset({DeliveryState.CLAIMED, DeliveryState.REFUSED, DeliveryState.ALREADY}),
    DeliveryState.ALREADY: frozenset({DeliveryState.CLAIMED, DeliveryState.REFUSED, DeliveryState.ALREADY}),
    # Only for reasons of ours, see OUR_REASONS, when a whole task turns out to be wrong (BUG), or when the
    # carrier's receipt tells that the text left after all.
    DeliveryState.REFUSED: _ANYTHING_BUT_WAITING | {DeliveryState.OPEN, DeliveryState.ACCEPTED},
    DeliveryState.SKIPPED: _ANYTHING_BUT_WAITING | {DeliveryState.OPEN},
}

#: Refusals that we decided ourselves before any request: the next try looks again, since people join lists.
OUR_REASONS = frozenset({"not_subscribed", "opted_out", "too_long", "empty_text", "recently_sent"})

CAMPAIGN_KEY_MAX_LENGTH = 200
ONCE_PREFIX = "once:"


def may_move(before: DeliveryState | None, after: DeliveryState) -> bool:
    """Whether a delivery may move so. The ledger refuses any other move."""
    return after in MOVES[before]


def is_settled(state: DeliveryState, reason: str | None, *, is_old: bool = False) -> bool:
    """Whether every later try leaves this delivery alone: done, or refused by the vendor. What is in doubt
    is for the step to say. `is_old`: it came to stand so longer ago than `ask_again_after`."""
    match state:
        case DeliveryState.ACCEPTED | DeliveryState.ALREADY:
            return not is_old
        case DeliveryState.REFUSED:
            return reason not in OUR_REASONS
        case _:
            return False


def check_campaign_key(campaign_key: object, field: str = "campaign_key") -> str:
    """A key as an author typed it, or `InvalidInput`. It is stored as it stands, so blanks around it count
    as a mistake rather than as another campaign, and so does the None that Jinja makes of an empty Param."""
    remedy = f"a key is 1 to {CAMPAIGN_KEY_MAX_LENGTH} printable characters without blanks around it"
    if not isinstance(campaign_key, str) or not campaign_key.strip():
        raise InvalidInput(field, campaign_key, remedy)
    if _names_nothing(campaign_key.strip()):
        raise InvalidInput(
            field,
            campaign_key[:60],
            f"so Jinja writes an empty Param, and all such runs would share the key: leave {field} out, "
            'give the Param a value, or use dag.param("campaign"), in which None leaves it out',
        )
    if (
        len(campaign_key) > CAMPAIGN_KEY_MAX_LENGTH
        or campaign_key != campaign_key.strip()
        or not campaign_key.isprintable()
    ):
        raise InvalidInput(field, campaign_key[:60], remedy)
    return campaign_key


def _names_nothing(campaign_key: str) -> bool:
    if campaign_key.startswith(ONCE_PREFIX):
        # To the letter: `once:NONE` is what Subscribe makes of an acquisition campaign with that id.
        return campaign_key.removeprefix(ONCE_PREFIX).strip() in ("", "None")
    return campaign_key.lower() == "none"


@dataclass(frozen=True, slots=True)
class Campaign:
    """What makes two deliveries "the same message", together with the phone number."""

    company_key: str
    campaign_key: str
    step: StepName
    list_id: str

    def event_id(self, phone: str) -> str:
        """The id that this delivery carries at Vibes, the same at every try: 32 hex digits."""
        parts = (self.company_key, self.campaign_key, self.step.value, self.list_id, phone)
        # Lengths keep ("a", "bc") and ("ab", "c") apart.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()[:32]
