"""Short names for what the ledger's tests do again and again."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_sms_flow.core.delivery import MOVES, Campaign, DeliveryState, StepName
from airflow_sms_flow.ledger import Lease, Ledger, TaskTry
from airflow_sms_flow.ledger.deliveries import Move, Outcome

A, B, C = "+12025550132", "+12025550143", "+12025550154"
CAMPAIGN = Campaign("acme", "summer", StepName.SEND, "1201")
TEXT = "f" * 64
LEASE = Lease()


def claim(
    phone: str, claim_id: str, seen: DeliveryState | None = None, lost_claim_id: str | None = None
) -> Move:
    """The move before a request leaves."""
    return Move(
        phone,
        DeliveryState.CLAIMED,
        "request leaves",
        seen=seen,
        claim_id=claim_id,
        lost_claim_id=lost_claim_id,
    )


def settle(phone: str, to: DeliveryState, claim_id: str, reason: str | None = None) -> Move:
    """The move after its answer."""
    return Move(phone, to, "answered", reason, claim_id=claim_id)


@dataclass
class Sender:
    """One try of one task on a ledger."""

    ledger: Ledger
    campaign: Campaign = CAMPAIGN
    fingerprint: str = TEXT
    lease: Lease = LEASE

    def __post_init__(self) -> None:
        self.dispatch_id = self.ledger.dispatch_id(self.campaign)
        self.id = self.ledger.register_claimer(self.dispatch_id, TaskTry("dag/send", "run", 1), self.lease)

    def write(self, *moves: Move) -> list[Outcome]:
        """Make moves one after the other."""
        with self.ledger.writer(self.campaign, self.fingerprint, self.id) as writer:
            return [writer.write(move) for move in moves]

    def state(self, phone: str) -> DeliveryState | None:
        """Where a number stands."""
        row = self.ledger.rows(self.dispatch_id, [phone]).get(phone)
        return row.state if row is not None else None

    def known(self, phone: str) -> DeliveryState | None:
        """Where a number stands once abandoned claims were looked for."""
        return self.ledger.known(self.dispatch_id, self.fingerprint).look_up([phone])[0][0]


def path_of(ledger: Ledger, phone: str, campaign: Campaign = CAMPAIGN) -> list[DeliveryState]:
    """The states that a number went through; every step of it must be allowed and join the one before."""
    before: DeliveryState | None = None
    path: list[DeliveryState] = []
    for entry in ledger.history(phone):
        if entry.campaign != campaign:
            continue
        assert entry.from_state == before, f"the history has a hole before {entry}"
        assert entry.to_state in MOVES[before], f"{before} may not become {entry.to_state}"
        before = entry.to_state
        path.append(before)
    return path
