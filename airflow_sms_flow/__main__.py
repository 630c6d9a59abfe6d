"""`python -m airflow_sms_flow`: ask the ledger, tell it what only a person can know, clean up.

It uses the same settings and the same ledger as the tasks, so it runs wherever `airflow` itself runs.
Numbers are shown where somebody typed them, and masked everywhere else.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from airflow_sms_flow.commands.callbacks import add_callbacks
from airflow_sms_flow.commands.report import add_report
from airflow_sms_flow.commands.tables import print_table
from airflow_sms_flow.core.errors import InvalidInput, SmsFlowError

if TYPE_CHECKING:
    from airflow_sms_flow.core.delivery import Campaign
    from airflow_sms_flow.ledger import HistoryEntry, Ledger, PersonEntry

_HISTORY_DAYS = 400
#: A row that is forgotten guards nobody any more: not sooner than anybody would clear an old run.
_FEWEST_ROWS_DAYS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    options = _parser().parse_args(arguments)
    _keep_quiet()
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except SmsFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_sms_flow", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    history = commands.add_parser("history", help="everything that ever happened to a phone number")
    history.add_argument("phone", help='in any format, such as "+1 202 555 0132"')
    history.add_argument("--region", default="US", help="where a number without country code belongs (US)")
    history.set_defaults(run=_history)

    in_doubt = commands.add_parser("in-doubt", help="how many requests were never answered, by campaign key")
    in_doubt.set_defaults(run=_in_doubt)

    settle = commands.add_parser("settle", help="say what became of requests that were never answered")
    settle.add_argument("campaign_key", help="as `in-doubt` shows it")
    settle.add_argument("--as", dest="outcome", choices=("sent", "not-sent"), required=True)
    settle.add_argument("--phone", help="this number alone")
    settle.add_argument("--region", default="US", help="where a number without country code belongs (US)")
    settle.add_argument("--by", help="who says so, for the history (default: the user of this system)")
    settle.set_defaults(run=_settle)

    clean = commands.add_parser("clean", help="delete old audience files, old history and, if told so, rows")
    clean.add_argument("--files-days", type=int, help="older files go (default: [sms_flow] keep_files_days)")
    clean.add_argument(
        "--history-days", type=int, default=_HISTORY_DAYS, help="older history goes (%(default)s)"
    )
    clean.add_argument(
        "--rows-days",
        type=int,
        help="older rows go, too: a run that is cleared after that reaches people again (default: none go; "
        "those of once: keys, those of Unsubscribe, which are opt-outs, and those in doubt never do); no "
        "fewer than --history-days",
    )
    clean.set_defaults(run=_clean)

    add_report(commands)
    add_callbacks(commands)
    return parser


def _keep_quiet() -> None:
    """Airflow and Alembic introduce themselves at their import; here they would drown the answer."""
    logging.disable(logging.WARNING)
    # Outside a task, Airflow looks for connections in its database only for a process that says so.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


@contextmanager
def _ledger() -> Iterator[Ledger]:
    """It has heard what Vibes told by now: who settles a doubt that a callback has settled already would have
    somebody texted again."""
    from airflow_sms_flow.hooks.ledger import open_ledger

    with closing(open_ledger()) as ledger:
        ledger.hear_all()
        yield ledger


def _history(options: argparse.Namespace) -> int:
    phone = _e164(options.phone, options.region)
    with _ledger() as ledger:
        entries, heard = ledger.history(phone), ledger.heard_of(phone)
    if not entries and not heard:
        print(f"Nothing is known of {phone}.")
        return 0
    print(f"{phone}, times in UTC:")
    if entries:
        print_table(
            ("when", "step", "campaign key", "list", "from -> to", "reason", "why", "task, run, try"),
            map(_history_row, entries),
        )
    if heard:
        print("\nHeard of this number:" if entries else "Heard of this number:")
        print_table(("when", "what", "where", "detail", "source", "company"), map(_heard_row, heard))
    return 0


def _heard_row(entry: PersonEntry) -> tuple[str, ...]:
    return (
        f"{entry.at:%Y-%m-%d %H:%M:%S}",
        entry.what,
        entry.where,
        entry.detail,
        entry.source,
        entry.company_key,
    )


def _history_row(entry: HistoryEntry) -> tuple[str, ...]:
    campaign = entry.campaign
    return (
        f"{entry.at:%Y-%m-%d %H:%M:%S}",
        campaign.step.value,
        campaign.campaign_key,
        campaign.list_id,
        f"{entry.from_state or 'nothing'} -> {entry.to_state}",
        entry.reason or "",
        entry.why,
        f"{entry.owner}, {entry.run_id}, {entry.try_number}" if entry.owner is not None else "",
    )


def _in_doubt(options: argparse.Namespace) -> int:
    with _ledger() as ledger:
        counts = ledger.in_doubt_counts()
    if not counts:
        print("Nothing is in doubt.")
        return 0
    rows = [(f"{n:,}", c.campaign_key, c.step.value, c.list_id, c.company_key) for c, n in counts.items()]
    print_table(("rows", "campaign key", "step", "list", "company"), rows)
    print('\nFind out, then: python -m airflow_sms_flow settle "<campaign key>" --as sent|not-sent')
    return 0


def _settle(options: argparse.Namespace) -> int:
    phone = _e164(options.phone, options.region) if options.phone is not None else None
    with _ledger() as ledger:
        campaigns = ledger.campaigns(options.campaign_key)
        if not campaigns:
            print(
                f"error: the ledger knows no campaign key {options.campaign_key!r}; `in-doubt` shows those "
                f"that wait for an answer",
                file=sys.stderr,
            )
            return 1
        by = options.by or getpass.getuser()
        sent = options.outcome == "sent"
        moved = ledger.settle_in_doubt(options.campaign_key, sent=sent, by=by, phone=phone)
    print(f"{moved:,} {'row' if moved == 1 else 'rows'} settled as {options.outcome}: {_told(campaigns)}.")
    if moved and not sent:
        print("The next try of the task reaches them.")
    return 0


def _told(campaigns: Iterable[Campaign]) -> str:
    return "; ".join(f"{one.step} on list {one.list_id} of {one.company_key}" for one in campaigns)


def _clean(options: argparse.Namespace) -> int:
    from airflow_sms_flow import settings
    from airflow_sms_flow.hooks.ledger import open_ledger
    from airflow_sms_flow.storage import delete_older_than

    files_days = options.files_days if options.files_days is not None else settings.keep_files_days()
    _check_days("--files-days", files_days, 1)
    _check_days("--history-days", options.history_days, 1)
    _check_days("--rows-days", options.rows_days, _FEWEST_ROWS_DAYS)
    _check_guards_outlive_history(options.rows_days, options.history_days)
    with closing(open_ledger()) as ledger:
        moves, rows = ledger.prune(history_days=options.history_days, rows_days=options.rows_days)
    files = delete_older_than(settings.storage_root(), files_days)
    print(f"{files:,} files older than {files_days} days deleted from {settings.storage_root()}")
    print(f"{moves:,} moves, callbacks and changes deleted that were older than {options.history_days} days")
    if options.rows_days is not None:
        print(f"{rows:,} rows older than {options.rows_days} days deleted")
    return 0


def _check_days(option: str, days: int | None, fewest: int) -> None:
    if days is not None and days < fewest:
        raise InvalidInput(option, days, f"a whole number of days, at least {fewest}")


def _check_guards_outlive_history(rows_days: int | None, history_days: int) -> None:
    """A text that the history still tells of must not be sent again."""
    if rows_days is not None and rows_days < history_days:
        raise InvalidInput(
            "--rows-days",
            rows_days,
            f"rows keep people from being reached twice, and may not go before their history, which stays "
            f"{history_days} days: give at least {history_days}, or --history-days {rows_days} as well",
        )


def _e164(typed: str, region: str) -> str:
    import pandas as pd

    from airflow_sms_flow.core.phone import normalise_phones

    found = normalise_phones(pd.Series([typed], dtype="string"), region.upper()).iloc[0]
    if pd.isna(found):
        raise InvalidInput("phone", typed, f"no phone number of {region.upper()}; begin it with + elsewhere")
    return str(found)


if __name__ == "__main__":
    sys.exit(main())
