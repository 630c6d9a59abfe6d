"""How far a text has come, as Vibes tells by `event_processed` callbacks (facts B.4) and daily files (C.5).

The vendor publishes the stages and the literal words of one of them (routing accepted); every other word
here is UNPUBLISHED. So they are read by what they contain, and what fits nothing is kept as unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Reasons of refusals that Vibes tells after it had taken the event. They are final under the event's key.
LATE_PREFIX = "late_"


class Stage(StrEnum):
    """The later one counts; of two that are equally late (delivered, bounced), the newer one. That it was
    refused beats what Vibes alone told, and nothing that the carrier or the handset told."""

    ROUTED = "routed"  #: a campaign took the event
    SENT = "sent"  #: queued to the carrier
    AT_CARRIER = "at_carrier"  #: the carrier has it (`carrier_dlr`); often the last word there is
    DELIVERED = "delivered"  #: the handset has it (`handset_dlr`)
    BOUNCED = "bounced"  #: the carrier or the handset did not take it
    REFUSED = "refused"  #: Vibes did not send it after all


class Bounce(StrEnum):
    """Whether another text to this number has a chance."""

    SOFT = "soft"
    HARD = "hard"


_RANK = {
    Stage.ROUTED: 1,
    Stage.SENT: 2,
    # It must not be sent again, and counts as not sent, unless it is known to have left Vibes: the refusal is
    # then that of a copy under the same id (`on_in_doubt="resend"`, facts A.6).
    Stage.REFUSED: 3,
    Stage.AT_CARRIER: 4,
    Stage.DELIVERED: 5,
    Stage.BOUNCED: 5,
}

#: Proof that the text left Vibes.
LEFT_VIBES = frozenset({Stage.AT_CARRIER, Stage.DELIVERED, Stage.BOUNCED})


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far one text has come. `at`: event time, aware UTC."""

    stage: Stage
    at: datetime
    bounce: Bounce | None = None
    reason: str | None = None

    @property
    def _key(self) -> tuple[int, datetime, str, str, str]:
        # The last three only decide between twins, so that the order of arrival never does.
        return _RANK[self.stage], self.at, self.stage, self.bounce or "", self.reason or ""


def later(one: Receipt | None, other: Receipt) -> Receipt:
    """What counts of the two, in whatever order they came."""
    return other if one is None or other._key > one._key else one


@dataclass(frozen=True, slots=True)
class Action:
    """`event_processed.action`, understood. `reason`: `late_…` of a refusal, else the vendor's word."""

    stage: Stage
    bounce: Bounce | None = None
    reason: str | None = None


#: In this order: the first that is found in the vendor's `status_reason`.
_LATE_REASONS = (
    ("block", "late_blocked"),  # before "list": "Mdn on blocked list" is no list of ours
    ("capped", "late_capped"),
    ("incentive", "late_no_incentive_codes"),
    ("carrier", "late_carrier"),
    ("landline", "late_carrier"),
    ("route", "late_no_route_rules"),
    ("list", "late_not_subscribed"),
    ("subscri", "late_not_subscribed"),
    ("person", "late_unknown_person"),
)
_HARD = re.compile(
    r"unknown|invalid|disconnect|deactivat|landline|not_provisioned|unprovisioned|block|blacklist|not_exist"
    r"|no_such|unallocated|unassigned|permanent"
)
_FAILED = re.compile(r"fail|reject|error|undeliver|bounce|expire|refus|not_deliver|no_route")
#: What the Message Extract says of texts that never left Vibes, among them its three published phrases.
_NEVER_SENT = re.compile(
    r"route|block|capped|incentive|landline|carrier_not_supported|unsupported_carrier|unexpected_error"
    r"|not_(in|on)_|not_subscribed|(person|subscription)_not_found"
)
_DELIVERY_STAGES = {"carrier_dlr": Stage.AT_CARRIER, "handset_dlr": Stage.DELIVERED}


def read_action(kind: object, status: object, status_reason: object) -> Action | None:
    """What `action.type`, `.status` and `.status_reason` mean; None where that cannot be told.

    Of the words only `routing / processing / accepted_by_event_triggered_message` are published. A bounce is
    hard where the reason names a number that can never be reached (unknown, invalid, disconnected, landline,
    not provisioned, blocked), else soft.
    """
    name, state, why = _word(kind), _word(status), _word(status_reason)
    failed = bool(_FAILED.search(state))
    reason = why[:64] or None
    if name in _DELIVERY_STAGES:
        if not failed:
            return Action(_DELIVERY_STAGES[name], reason=reason) if state else None
        return Action(Stage.BOUNCED, Bounce.HARD if _HARD.search(why) else Bounce.SOFT, reason)
    if name not in ("routing", "processing") or not state:
        return None
    if failed:
        return Action(Stage.REFUSED, reason=_late_reason(why))
    return Action(Stage.ROUTED if name == "routing" else Stage.SENT, reason=reason)


def read_message_status(status: object) -> Action | None:
    """What `message_status` of the Message Extract means (facts C.5); None where there is none.

    SUCCESS is read as sent, not as delivered: the failure phrases that it stands beside (Route Not Found, Mdn
    on blocked list, Capped Message) are all about Vibes' own part, so it promises no more than that. Whatever
    else stands there is a failure: refused late where the text cannot have left Vibes, else a bounce.
    """
    word = _word(status)
    if not word:
        return None
    if word == "success":
        return Action(Stage.SENT, reason=word)
    if _NEVER_SENT.search(word):
        return Action(Stage.REFUSED, reason=_late_reason(word))
    return Action(Stage.BOUNCED, Bounce.HARD if _HARD.search(word) else Bounce.SOFT, word[:64])


def _late_reason(why: str) -> str:
    return next((reason for word, reason in _LATE_REASONS if word in why), "late_unexpected_error")


def _word(value: object) -> str:
    """In lower case, with underscores: "Person Not Found" is person_not_found."""
    return re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_") if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of the texts of one campaign, in messages.

    sent = delivered + bounced_soft + bounced_hard + unknown. `sent` are those that Vibes took and did not
    refuse late; `refused_late` stands beside them. `delivered` are those that the carrier or the handset
    has (many carriers never tell of the handset); `on_handset` of them are known to have reached it.
    """

    sent: int = 0
    delivered: int = 0
    on_handset: int = 0
    bounced_soft: int = 0
    bounced_hard: int = 0
    unknown: int = 0
    refused_late: int = 0

    def __post_init__(self) -> None:
        if self.delivered + self.bounced_soft + self.bounced_hard + self.unknown != self.sent:
            raise AssertionError("a delivery report that loses messages")

    @property
    def final(self) -> int:
        """Messages of which no more is waited for; `sent + refused_late` when all are."""
        return self.sent - self.unknown + self.refused_late

    @property
    def final_share(self) -> float:
        """From 0 to 1; 1 where there are no messages."""
        messages = self.sent + self.refused_late
        return self.final / messages if messages else 1.0

    @property
    def delivery_rate(self) -> float:
        """Of what was sent, from 0 to 1; 0 where nothing was."""
        return self._share(self.delivered)

    @property
    def bounce_rate(self) -> float:
        """Soft and hard, of what was sent."""
        return self._share(self.bounced_soft + self.bounced_hard)

    def as_dict(self) -> dict[str, int | float]:
        """JSON for an XCom."""
        return {
            "sent": self.sent,
            "delivered": self.delivered,
            "on_handset": self.on_handset,
            "bounced_soft": self.bounced_soft,
            "bounced_hard": self.bounced_hard,
            "unknown": self.unknown,
            "refused_late": self.refused_late,
            "delivery_rate": round(self.delivery_rate, 4),
            "bounce_rate": round(self.bounce_rate, 4),
            "soft_bounce_rate": round(self._share(self.bounced_soft), 4),
            "hard_bounce_rate": round(self._share(self.bounced_hard), 4),
        }

    def lines(self, prefix: str = "") -> list[str]:
        """As a person reads it in a task log: counts, and what share of those sent they are."""
        counts = [("delivered", self.delivered), ("bounced, soft", self.bounced_soft)]
        counts += [("bounced, hard", self.bounced_hard), ("not known yet", self.unknown)]
        rows = [(name, n, f"{self._share(n):9.1%}") for name, n in counts]
        rows = [("sent", self.sent, ""), *rows, ("refused late", self.refused_late, "")]
        return [f"  {prefix + name:<28}{n:>10,}{share}" for name, n, share in rows]

    def _share(self, n: int) -> float:
        return n / self.sent if self.sent else 0.0


def make_report(counts: dict[tuple[Stage | None, Bounce | None], int], refused_late: int) -> DeliveryReport:
    """Of the messages that Vibes took, by how far they have come (None: nothing heard yet)."""
    on_handset = _sum(counts, Stage.DELIVERED)
    soft = counts.get((Stage.BOUNCED, Bounce.SOFT), 0)
    hard = counts.get((Stage.BOUNCED, Bounce.HARD), 0)
    delivered = on_handset + _sum(counts, Stage.AT_CARRIER)
    sent = sum(counts.values())
    return DeliveryReport(
        sent, delivered, on_handset, soft, hard, sent - delivered - soft - hard, refused_late
    )


def _sum(counts: dict[tuple[Stage | None, Bounce | None], int], stage: Stage) -> int:
    return sum(n for (found, _), n in counts.items() if found is stage)
