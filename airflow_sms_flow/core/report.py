"""What a flow step did, in numbers that add up. DESIGN "Between tasks"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.receipts import DeliveryReport


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step over one audience.

    rows = accepted + already + refused + skipped + in_doubt + failed. `accepted` is this try's, `already`
    that of earlier tries and of people for whom nothing was left to do; `attempted` counts this try's
    requests and stands outside the sum. So does `delivery`, of a step that sends texts: what the ledger knew,
    when the step ended, of all texts of the campaign key.
    """

    step: str
    campaign_key: str
    list_id: str
    rows: int = 0
    accepted: int = 0
    already: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    in_doubt: int = 0
    failed: int = 0
    attempted: int = 0
    delivery: DeliveryReport | None = None

    def __post_init__(self) -> None:
        parts = self.accepted + self.already + self.in_doubt + self.failed
        total = parts + sum(self.refused.values()) + sum(self.skipped.values())
        if total != self.rows:
            raise AssertionError(f"a report that loses people: {total} of {self.rows} rows accounted for")

    def as_dict(self) -> dict[str, Any]:
        """JSON for an XCom: names and numbers only."""
        report = {
            "step": self.step,
            "campaign_key": self.campaign_key,
            "list_id": self.list_id,
            "rows": self.rows,
            "accepted": self.accepted,
            "already": self.already,
            "refused": dict(sorted(self.refused.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "in_doubt": self.in_doubt,
            "failed": self.failed,
            "attempted": self.attempted,
        }
        return report if self.delivery is None else report | {"delivery": self.delivery.as_dict()}

    def lines(self) -> list[str]:
        """The report as a person reads it in a task log: short and aligned."""
        counts = [("rows", self.rows), ("accepted", self.accepted), ("already", self.already)]
        counts += [(f"refused: {reason}", n) for reason, n in sorted(self.refused.items())]
        counts += [(f"skipped: {reason}", n) for reason, n in sorted(self.skipped.items())]
        counts += [("in doubt", self.in_doubt), ("failed", self.failed), ("requests", self.attempted)]
        head = f"{self.step} on list {self.list_id}, campaign key {self.campaign_key!r}"
        lines = [head, *(f"  {name:<28}{n:>10,}" for name, n in counts)]
        if self.delivery is not None and self.delivery.final:
            lines += self.delivery.lines("so far: ")
        return lines


class Tally:
    """Counts rows one by one, then makes the report."""

    def __init__(self) -> None:
        self._rows = 0
        self._plain: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def add(self, state: DeliveryState | None, reason: str | None, *, by_this_try: bool) -> None:
        """Count one person. No state at all, or one still open: the step failed to get to them."""
        self._rows += 1
        match state:
            case DeliveryState.ACCEPTED:
                self._plain["accepted" if by_this_try else "already"] += 1
            case DeliveryState.ALREADY:
                self._plain["already"] += 1
            case DeliveryState.REFUSED:
                self._refused[reason or "unknown"] += 1
            case DeliveryState.SKIPPED:
                self._skipped[reason or "unknown"] += 1
            case DeliveryState.IN_DOUBT | DeliveryState.CLAIMED:
                self._plain["in_doubt"] += 1
            case _:
                self._plain["failed"] += 1

    def report(
        self,
        step: str,
        campaign_key: str,
        list_id: str,
        *,
        attempted: int,
        delivery: DeliveryReport | None = None,
    ) -> StepReport:
        """The sum of what was added."""
        return StepReport(
            step,
            campaign_key,
            list_id,
            self._rows,
            self._plain["accepted"],
            self._plain["already"],
            dict(self._refused),
            dict(self._skipped),
            self._plain["in_doubt"],
            self._plain["failed"],
            attempted,
            delivery,
        )
