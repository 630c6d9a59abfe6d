"""`callbacks list|register|remove`: which callbacks Vibes sends where. Secrets are never shown."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.commands.tables import print_table
from airflow_sms_flow.core.errors import InvalidInput

if TYPE_CHECKING:
    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.core.registrations import Registration, Subjects
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.steps.callback_plan import CallbackAddress


def add_callbacks(commands: Any) -> None:
    """Add the group to the parser's commands."""
    group = commands.add_parser("callbacks", help="which callbacks Vibes sends where")
    actions = group.add_subparsers(required=True, metavar="action")

    listing = actions.add_parser("list", help="everything that is registered at Vibes")
    _add_account(listing)
    listing.set_defaults(run=_list)

    register = actions.add_parser("register", help="have Vibes call this Airflow back")
    _add_account(register)
    _add_subjects(register)
    register.add_argument("--replace", action="store_true", help="remove what leads elsewhere for the same")
    register.add_argument("--no-check", action="store_true", help="fire no test events")
    register.add_argument("--timeout", type=float, default=120.0, help="seconds for them (%(default)g)")
    register.set_defaults(run=_register)

    remove = actions.add_parser("remove", help="no longer be called back; never touches other people's")
    _add_account(remove)
    _add_subjects(remove)
    remove.add_argument("--all", action="store_true", help="everything that leads here")
    remove.set_defaults(run=_remove)


def _add_account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--conn-id", default="vibes_default", help="the Vibes connection (%(default)s)")


def _add_subjects(parser: argparse.ArgumentParser) -> None:
    for option, help_text in (
        ("--list", "a Vibes list: who joins and leaves, and what becomes of texts to it"),
        ("--campaign", "an acquisition campaign: who is asked, and what they answer"),
        ("--event-type", "an event-triggered campaign's event type: what becomes of its texts"),
        ("--source-code", "a short code: replies that no campaign took"),
    ):
        parser.add_argument(option, action="append", default=[], help=f"{help_text}; may be repeated")


def _subjects(options: argparse.Namespace) -> Subjects:
    from airflow_sms_flow.core.registrations import Subjects

    return Subjects.read(options.list, options.campaign, options.event_type, options.source_code)


@dataclass(frozen=True, slots=True)
class _Account:
    client: VibesClient
    ledger: Ledger
    address: CallbackAddress
    company_key: str


@contextmanager
def _account(conn_id: str) -> Iterator[_Account]:
    from airflow_sms_flow.hooks.callbacks import callback_address
    from airflow_sms_flow.hooks.ledger import open_ledger
    from airflow_sms_flow.hooks.vibes import VibesHook
    from airflow_sms_flow.steps.callback_plan import CallbackAddress
    from airflow_sms_flow.steps.registrations import check_address

    hook = VibesHook(conn_id)
    address = CallbackAddress(callback_address(conn_id))
    check_address(address, hook.base_url)
    with closing(open_ledger()) as ledger, hook.sharing_client(ledger) as client:
        yield _Account(client, ledger, address, hook.company_key)


def _list(options: argparse.Namespace) -> int:
    from airflow_sms_flow.steps.registrations import today

    with _account(options.conn_id) as account:
        found = account.client.list_callbacks()
    if not found:
        print("Nothing is registered.")
        return 0
    rows = sorted(_row(one, account.address, account.address.where(one, today())) for one in found)
    print_table(("callback", "of", "leads", "to", "id"), rows)
    return 0


def _row(one: Registration, address: CallbackAddress, where: str) -> tuple[str, ...]:
    return one.callback_type, one.subject or "", where, address.shown(one.url), one.id


def _register(options: argparse.Namespace) -> int:
    from airflow_sms_flow.steps.callback_arrival import ArrivalCheck, register_and_check
    from airflow_sms_flow.steps.registrations import Registrar, checked_needs, name_lists

    subjects = _subjects(options)
    if not options.timeout > 0:
        raise InvalidInput("--timeout", options.timeout, "give a positive number of seconds")
    with _account(options.conn_id) as account:
        client, ledger = account.client, account.ledger
        needs = checked_needs(client, subjects)
        name_lists(client, ledger, account.company_key, subjects)
        done, _ = register_and_check(
            Registrar(client, account.address, _say),
            None if options.no_check else ArrivalCheck(client, ledger, account.company_key, _say, _say),
            needs,
            replace_others=options.replace,
            timeout_seconds=options.timeout,
        )
        report = done.report(account.address)
    _say("%(registered)s registered, %(standing)s stood already, %(replaced)s removed.", report)
    for one in report["elsewhere"]:
        _say("%(callback_type)s of %(subject)s leads to %(to)s, too: --replace removes that.", one)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from airflow_sms_flow.steps.registrations import Registrar, open_needs

    needs = None if options.all else open_needs(_subjects(options))
    with _account(options.conn_id) as account:
        removed = Registrar(account.client, account.address, say=_say).remove(needs)
    print(f"{len(removed)} removed.")
    return 0


def _say(words: str, *values: object) -> None:
    print(words % (values[0] if len(values) == 1 and isinstance(values[0], dict) else values))
