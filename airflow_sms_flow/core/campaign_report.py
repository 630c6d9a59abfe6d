"""One report of a step that ran in shards, in which everybody is accounted for, also where a shard failed.

Airflow's list of what mapped tasks returned leaves out those that gave nothing. So the preparation says how
many people there were, and who is in no report is counted as `unreported`: such a shard may well have reached
people before it ended, and the ledger knows whom; its next try tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import Funnel

_NAMES = ("step", "campaign_key", "list_id")
_COUNTS = ("accepted", "already", "in_doubt", "failed")
_REASONS = ("refused", "skipped")


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Two sums: extracted = kept + every reason of the funnel, and kept = accepted + already + refused +
    skipped + in_doubt + failed + unreported.

    `names`: step, campaign_key and list_id, empty where no shard gave a report. `delivery`: what was known of
    the texts of the whole campaign when the last shard ended.
    """

    funnel: Funnel
    shards: int
    reported: int
    names: Mapping[str, str]
    counts: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    attempted: int
    delivery: Mapping[str, Any] | None

    @property
    def unreported(self) -> int:
        """People in shards that ended without a report."""
        told = sum(self.counts.values()) + sum(sum(one.values()) for one in self.reasons.values())
        return self.funnel.kept - told

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do: each shard gave a report, and nobody failed."""
        return self.reported == self.shards and not self.counts["failed"]

    def as_dict(self) -> dict[str, Any]:
        """JSON for an XCom: a step report's names, and the funnel, shards and `unreported` beside them."""
        report: dict[str, Any] = {
            "funnel": self.funnel.to_dict(),
            "shards": self.shards,
            "shards_unreported": self.shards - self.reported,
            **self.names,
            "rows": self.funnel.kept,
            **self.counts,
            **{name: dict(sorted(reasons.items())) for name, reasons in self.reasons.items()},
            "unreported": self.unreported,
            "attempted": self.attempted,
        }
        return report if self.delivery is None else report | {"delivery": dict(self.delivery)}

    def lines(self) -> list[str]:
        """As a person reads it in a task log."""
        counts = [("accepted", self.counts["accepted"]), ("already", self.counts["already"])]
        for name, reasons in self.reasons.items():
            counts += [(f"{name}: {reason}", count) for reason, count in sorted(reasons.items())]
        counts += [("in doubt", self.counts["in_doubt"]), ("failed", self.counts["failed"])]
        counts += [("unreported", self.unreported)]
        head = f"of these, by {self.reported:,} of {self.shards:,} shards"
        return [*str(self.funnel).splitlines(), head, *(f"- {name:<28}{n:>10,}" for name, n in counts)]


def add_up(funnel: Funnel, shards: Sequence[int], reports: Sequence[Mapping[str, Any]]) -> CampaignReport:
    """The reports of the shards as one.

    `shards`: the rows of each, as prepared. `reports`: of those that gave one, in any order. Raises
    `InvalidInput` where they are not of one step, key and list, or not of this audience.
    """
    if sum(shards) != funnel.kept:
        remedy = f"the shards have {sum(shards):,} people; give output and funnel of one preparation"
        raise InvalidInput("funnel", funnel.kept, remedy)
    names = _common_names(reports)
    _check_rows(shards, [int(report["rows"]) for report in reports])
    counts = {name: sum(int(report[name]) for report in reports) for name in _COUNTS}
    reasons = {name: _sum_of_reasons(report[name] for report in reports) for name in _REASONS}
    deliveries = [report["delivery"] for report in reports if report.get("delivery")]
    return CampaignReport(
        funnel,
        len(shards),
        len(reports),
        names,
        counts,
        reasons,
        attempted=sum(int(report["attempted"]) for report in reports),
        # Each tells of the whole campaign, as it stood when that shard ended.
        delivery=max(deliveries, key=lambda one: one["sent"] + one["refused_late"], default=None),
    )


def _common_names(reports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = {tuple(str(report[name]) for name in _NAMES) for report in reports}
    if len(found) > 1:
        remedy = "are of several steps, campaign keys or lists; add up each by itself"
        raise InvalidInput("reports", sorted(found), remedy)
    return dict(zip(_NAMES, found.pop(), strict=True)) if found else {}


def _check_rows(shards: Sequence[int], reported: Sequence[int]) -> None:
    """Each report is of a shard of its own."""
    if left_over := Counter(reported) - Counter(shards):
        remedy = f"reports of so many people each belong to none of the {len(shards)} shards of this audience"
        raise InvalidInput("reports", sorted(left_over), remedy)


def _sum_of_reasons(several: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for reasons in several:
        total.update(reasons)
    return dict(total)
