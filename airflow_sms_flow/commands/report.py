"""`report`: what became of the texts of a campaign, as a table. Counts only."""

from __future__ import annotations

import argparse
import re
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.commands.tables import print_table
from airflow_sms_flow.core.errors import InvalidInput

if TYPE_CHECKING:
    from airflow_sms_flow.core.receipts import DeliveryReport

_EVERY = re.compile(r"([1-9][0-9]{0,5})\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HEAD = ("sent", "delivered", "rate", "soft", "rate", "hard", "rate", "not known yet", "refused late")


def add_report(commands: Any) -> None:
    """Add the command to the parser's."""
    report = commands.add_parser("report", help="how many texts of a campaign were sent, delivered, bounced")
    report.add_argument("campaign_key", help="as the step report of the Send task shows it")
    report.add_argument("--every", help="by when Vibes took the texts, in steps such as 15m, 1h or 1d (UTC)")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from airflow_sms_flow.core.delivery import StepName
    from airflow_sms_flow.hooks.ledger import open_ledger

    every = _read_every(options.every) if options.every is not None else None
    rows: list[tuple[str, ...]] = []
    with closing(open_ledger()) as ledger:
        ledger.hear_all()
        campaigns = [one for one in ledger.campaigns(options.campaign_key) if one.step is StepName.SEND]
        for campaign in campaigns:
            where = (campaign.company_key, campaign.list_id)
            if every is None:
                rows.append((*where, *_cells(ledger.delivery_report(campaign))))
                continue
            for start, report in ledger.delivery_report_over_time(campaign, every):
                rows.append((*where, f"{start:%Y-%m-%d %H:%M:%S}", *_cells(report)))
    if not campaigns:
        raise InvalidInput("campaign_key", options.campaign_key, "the ledger knows no text under this key")
    print_table(("company", "list", *(("from, in UTC",) if every is not None else ()), *_HEAD), rows)
    return 0


def _cells(report: DeliveryReport) -> tuple[str, ...]:
    def share(n: int) -> str:
        return f"{n / report.sent:.1%}" if report.sent else ""

    return (
        f"{report.sent:,}",
        *(f"{report.delivered:,}", share(report.delivered)),
        *(f"{report.bounced_soft:,}", share(report.bounced_soft)),
        *(f"{report.bounced_hard:,}", share(report.bounced_hard)),
        f"{report.unknown:,}",
        f"{report.refused_late:,}",
    )


def _read_every(typed: str) -> timedelta:
    found = _EVERY.fullmatch(typed.strip().lower())
    if found is None:
        raise InvalidInput("--every", typed, "a number and one of s, m, h, d: 15m, 1h, 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
