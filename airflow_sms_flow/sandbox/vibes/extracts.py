"""The vendor's daily files, as TSV with a header row: who is on the lists, what was sent, who came or went.

Published are the columns, and the beginning of the file names. The date's form and the extension are those of
the older names; columns of the Message Extract after message_status are cut off in the vendor's text: here
follows the message alone. The vendor's files are of midnight; these are of any moment.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from airflow_sms_flow.sandbox.numbers import us_number
from airflow_sms_flow.sandbox.vibes.models import Company, Person, Subscription

CARRIER = "sandbox.us"
#: The vendor's samples are written at -0600.
_ZONE = timezone(timedelta(hours=-6))
_AT_ONCE = 20_000
_CURRENT = (
    "mdn",
    "person_id",
    "external_person_id",
    "carrier_code",
    "mdn_e164_format",
    "country_code",
    "subscription_list_id",
)
_MESSAGES = (
    "person_id",
    "external_person_id",
    "mdn",
    "carrier_code",
    "message_id",
    "client_message_id",
    "timestamp",
    "message_status",
    "message",
)
_CHANGES = (
    "person_id",
    "external_person_id",
    "mdn",
    "company_id",
    "carrier_code",
    "subscription_list_id",
    "subscription_list_name",
    "opt_in_date",
    "opt_out_date",
    "subscription_event",
    "opt_out_reason",
    "activity_description",
    "activity_id",
)
#: message_status by why a text never arrived. "Route Not Found" is the vendor's; the others are our own.
_FAILURES = {
    "no_route_rules": "Route Not Found",
    "carrier_not_supported": "Carrier Not Supported",
    "number_disconnected": "Number Disconnected",
    "unknown_subscriber": "Unknown Subscriber",
    "carrier_temporarily_unavailable": "Carrier Temporarily Unavailable",
    "handset_unreachable": "Handset Unreachable",
    "unexpected_error": "Unexpected Error",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What file is wanted. `rows` pads the current subscribers with made-up people up to so many rows."""

    extract: str
    as_of: datetime
    list_id: str | None = None
    rows: int = 0


@dataclass(slots=True)
class Extract:
    """A file about to be written: its lines, without line ends, are made as they are asked for."""

    name: str
    header: tuple[str, ...]
    lines: Iterator[str]
    rows: int = 0

    def chunks(self) -> Iterator[bytes]:
        """The whole file, a piece at a time; counts the rows."""
        yield ("\t".join(self.header) + "\n").encode()
        while lines := list(itertools.islice(self.lines, _AT_ONCE)):
            self.rows += len(lines)
            yield ("\n".join(lines) + "\n").encode()


def make_extract(company: Company, wish: Wish) -> Extract:
    """A file of the state at `as_of`. Hold the sandbox's lock here; not while the lines are read.

    Raises ValueError for an unknown extract or list.
    """
    if wish.extract not in _MAKERS:
        raise ValueError(f"extract={wish.extract!r}: give one of {', '.join(_MAKERS)}")
    if wish.list_id is not None and wish.list_id not in company.lists:
        raise ValueError(f"list_id={wish.list_id!r}: give one of {', '.join(company.lists)}")
    if wish.rows and wish.list_id is None:
        raise ValueError("rows: give a list_id, too, for the made-up people to be on")
    header, make = _MAKERS[wish.extract]
    name = f"{wish.extract}_{company.company_key}_{wish.as_of.astimezone(UTC):%Y-%m-%d}.txt"
    return Extract(name, header, make(company, wish))


def write_extract(extract: Extract, folder: Path) -> Path:
    """Write a file into an existing folder; it appears there only when it is whole."""
    path = folder / extract.name
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for chunk in extract.chunks():
            file.write(chunk)
    os.replace(part, path)
    return path


def _current(company: Company, wish: Wish) -> Iterator[str]:
    """One row per person and list, active at `as_of`; then the made-up ones."""
    known = set(company.persons.by_mdn) if wish.rows else set()
    return _current_lines(list(company.history.values()), known, wish)


def _current_lines(histories: list[list[Subscription]], known: set[str], wish: Wish) -> Iterator[str]:
    rows = 0
    for one in itertools.chain.from_iterable(histories):
        if _is_active(one, wish) and one.person.mdn is not None:
            rows += 1
            yield _current_line(one.person.mdn, one.person, one.list_id)
    for index in itertools.count():
        if rows >= wish.rows:
            return
        number = us_number(index)
        if number not in known:
            rows += 1
            key = f"00000000-0000-4000-8000-{index:012x}"
            yield f"{number[2:]}\t{key}\t{index + 1}\t{CARRIER}\t{number}\t1\t{wish.list_id}"


def _is_active(one: Subscription, wish: Wish) -> bool:
    if wish.list_id not in (None, one.list_id) or one.opt_in_date > wish.as_of:
        return False
    return one.opt_out_date is None or one.opt_out_date > wish.as_of


def _current_line(number: str, person: Person, list_id: str) -> str:
    """Country codes here have one digit (US, Canada) or two (the few numbers abroad)."""
    code = number[1] if number[1] == "1" else number[1:3]
    fields = (
        number[1 + len(code) :],
        person.person_key,
        person.external_person_id or "",
        CARRIER,
        number,
        code,
        list_id,
    )
    return "\t".join(fields)


def _messages(company: Company, wish: Wish) -> Iterator[str]:
    """Every text of ours since the sandbox began, delivered or not, up to `as_of`."""
    phones, persons = company.phones, company.persons.by_mdn
    effects = list(phones.effects)
    share = phones.settings.share_client_message_ids
    until = wish.as_of

    def lines() -> Iterator[str]:
        for one in effects:
            if one["kind"] not in ("text_delivered", "text_bounced", "event_dropped"):
                continue
            status = "SUCCESS" if one["kind"] == "text_delivered" else _FAILURES.get(one["reason"])
            at, person = datetime.fromisoformat(one["at"]), persons.get(one["phone"])
            if status is None or at > until or wish.list_id not in (None, one.get("list_id")):
                continue
            event_id = one.get("event_id", "")
            told = event_id if phones.chance("client message", event_id) < share else ""
            who = (person.person_key, person.external_person_id or "") if person else ("", "")
            message = '"' + one.get("text", "").replace('"', '""') + '"'
            fields = (*who, one["phone"], CARRIER, f"M{one['n']}", told, _date(at), status, message)
            yield "\t".join(fields)

    return lines()


def _changes(company: Company, wish: Wish) -> Iterator[str]:
    """Who came and who went, up to `as_of`; one row each, newest events included."""
    histories = list(company.history.values())
    names = {one.list_id: one.name for one in company.lists.values()}

    def lines() -> Iterator[str]:
        for one in itertools.chain.from_iterable(histories):
            person, left = one.person, one.opt_out_date
            if wish.list_id not in (None, one.list_id) or one.opt_in_date > wish.as_of:
                continue
            who = (person.person_key, person.external_person_id or "", person.mdn or "", company.company_key)
            where = (*who, CARRIER, one.list_id, names[one.list_id], _date(one.opt_in_date))
            yield "\t".join((*where, "", "OPT_IN", "", "", ""))
            if left is not None and left <= wish.as_of:
                reason = (one.opt_out_reason or "").upper()
                yield "\t".join((*where, _date(left), "OPT_OUT", reason, "", ""))

    return lines()


def _date(moment: datetime) -> str:
    return moment.astimezone(_ZONE).strftime("%Y-%m-%d %H:%M:%S %z")


_Maker = Callable[[Company, Wish], Iterator[str]]
_MAKERS: dict[str, tuple[tuple[str, ...], _Maker]] = {
    "current_subscribers": (_CURRENT, _current),
    "messages": (_MESSAGES, _messages),
    "subscriptions": (_CHANGES, _changes),
}
