"""Leads as found in the wild: mixed formats, duplicates, junk, unicode, the blocklisted, the suspended."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.numbers import ABROAD, JUNK, NANP_STYLES, ca_number, us_number

FIRST_LEAD_ID = 100_001
_SHARE_NO_PHONE, _SHARE_JUNK, _SHARE_ABROAD, _SHARE_SHARED = 0.04, 0.03, 0.04, 0.09
_BORN = datetime(2024, 1, 1, tzinfo=UTC)
_US_WORDS = (
    "United States",
    "United States",
    "United States",
    "USA",
    "US",
    "U.S.A.",
    "United States of America",
)
_ODD_COUNTRIES = ("Earth", "N/A", "Californa", "🇺🇸", "unknown", "U S")
# fmt: off
_FIRST_NAMES = (
    "Ada", "Ben", "Chloe", "Dmitri", "Elena", "Farid", "Grace", "Hiro", "Ines", "Jamal", "Keiko", "Liam",
    "Mei", "Noor", "Owen", "Priya", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Viktor", "Wren", "Ximena",
    "Yusuf", "Zoë", "José", "Renée", "Björn", "Łukasz", "Siobhán", "美咲", "Ольга",
)
_LAST_NAMES = (
    "Adams", "Brooks", "Castillo", "Diaz", "Evans", "Fischer", "García", "Huang", "Ivanova", "Jones",
    "Khan", "Lopez", "Müller", "Nguyen", "O'Neill", "Patel", "Quist", "Rossi", "Smith", "Tanaka", "Usman",
    "Vargas", "Williams", "Xu", "Young", "Zhang", "Ångström", "Đặng",
)
# fmt: on
#: Names that hurt careless programs: quotes, delimiters, templates, direction marks, the word null.
_ODD_NAMES = (
    'Robert "Bobby"',
    "Smith, Jr.",
    "Line\nBreak",
    "{{lead.Email}}",
    "{% raw %}",
    "{{ ev.message_body }}",
    "${jndi:x}",
    "🎉 Party 🎉",
    "مريم",
    "דוד",
    "\u202eesreveR",
    "null",
    "None",
    "=1+1",
    "<b>Bold</b>",
    "O\u2019Brien; DROP",
    "Tab\tby",
    " ",
    "👩‍👩‍👧‍👦",
)
_PLACES = (
    ("Chicago", "IL", "60601"),
    ("Austin", "TX", "73301"),
    ("Portland", "OR", "97035"),
    ("Boston", "MA", "02108"),
)
_CA_PLACES = (("Toronto", "ON", "M5H 2N2"), ("Montréal", "QC", "H2Y 1C6"))
_STORES = ("Main Street", "Harbor", "Airport", "Zoë's Corner", None)


@dataclass(slots=True)
class Generated:
    """The leads, the number (E.164) that `mobilePhone` means if any, and who is on which smart list."""

    leads: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[int, str] = field(default_factory=dict)
    smart_lists: dict[int, list[int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Contact:
    """What a lead's record says about the phone, and what it means."""

    written: str | None
    country: str | None
    number: str | None
    place: tuple[str, str, str]


def generate_leads(count: int, seed: int) -> Generated:
    """The same count and seed give the same leads."""
    rng = random.Random(seed)
    made = Generated(smart_lists={list_id: [] for list_id in accounts.SMART_LISTS})
    contacts = _contacts(rng)
    earlier: list[_Contact] = []
    for lead_id in range(FIRST_LEAD_ID, FIRST_LEAD_ID + count):
        shares = bool(earlier) and rng.random() < _SHARE_SHARED
        contact = _again(rng, rng.choice(earlier)) if shares else next(contacts)
        lead = _lead(rng, lead_id, contact, shares=shares)
        made.leads.append(lead)
        if contact.number is not None:
            made.numbers[lead_id] = contact.number
            made.names.setdefault(
                contact.number, f"{lead['firstName'] or ''} {lead['lastName'] or ''}".strip()
            )
            if contact.number.startswith("+1"):
                earlier.append(contact)
        _enlist(rng, made, lead)
    return made


def _contacts(rng: random.Random) -> Iterator[_Contact]:
    us = ca = abroad = 0
    while True:
        chance = rng.random()
        if chance < _SHARE_NO_PHONE:
            yield _Contact(None, _us_word(rng), None, rng.choice(_PLACES))
        elif chance < _SHARE_NO_PHONE + _SHARE_JUNK:
            yield _Contact(rng.choice(JUNK), _us_word(rng), None, rng.choice(_PLACES))
        elif chance < _SHARE_NO_PHONE + _SHARE_JUNK + _SHARE_ABROAD:
            yield _abroad(rng, abroad)
            abroad += 1
        elif rng.random() < 0.12:
            number = ca_number(ca)
            yield _Contact(
                _written(rng, number),
                rng.choice(("Canada", "CA", "CAN", "canada")),
                number,
                rng.choice(_CA_PLACES),
            )
            ca += 1
        else:
            number = us_number(us)
            yield _Contact(_written(rng, number), _us_word(rng), number, rng.choice(_PLACES))
            us += 1


def _us_word(rng: random.Random) -> str | None:
    chance = rng.random()
    if chance < 0.03:
        return rng.choice(_ODD_COUNTRIES)
    return None if chance < 0.15 else rng.choice(_US_WORDS)


def _abroad(rng: random.Random, index: int) -> _Contact:
    e164, written, words = ABROAD[index % len(ABROAD)]
    n = f"{index // len(ABROAD) % 100:02d}"
    number = e164.format(n=n)
    style = number if rng.random() < 0.5 else written.format(n=n)
    return _Contact(style, rng.choice(words), number, ("", "", ""))


def _written(rng: random.Random, number: str) -> str:
    style = NANP_STYLES[min(int(rng.random() ** 1.5 * len(NANP_STYLES)), len(NANP_STYLES) - 1)]
    return style(number[2:5], number[5:8], number[8:])


def _again(rng: random.Random, contact: _Contact) -> _Contact:
    number = contact.number or ""
    return _Contact(_written(rng, number), contact.country, number, contact.place)


def _name(rng: random.Random, names: tuple[str, ...]) -> str | None:
    chance = rng.random()
    if chance < 0.05:
        return None
    return rng.choice(_ODD_NAMES) if chance < 0.08 else rng.choice(names)


def _flag(rng: random.Random, share: float) -> bool | None:
    """True by that share; else false, or (never set) null."""
    return True if rng.random() < share else rng.choice((False, False, None))


def _lead(rng: random.Random, lead_id: int, contact: _Contact, *, shares: bool) -> dict[str, Any]:
    created = _BORN + timedelta(seconds=rng.randrange(50_000_000))
    city, state, postal_code = contact.place
    return {
        "id": lead_id,
        "firstName": _name(rng, _FIRST_NAMES),
        "lastName": _name(rng, _LAST_NAMES),
        "email": f"lead{lead_id}@example.com" if rng.random() > 0.05 else None,
        "mobilePhone": contact.written,
        "phone": _written(rng, us_number(rng.randrange(20_000, 30_000))) if rng.random() < 0.3 else None,
        "company": rng.choice(("Acme, Inc.", "Globex", "Initech", "Umbrella «EU»", None)),
        "city": city or None,
        "state": state or None,
        "postalCode": postal_code or None,
        "country": contact.country,
        "unsubscribed": rng.random() < 0.08,
        "blackListed": _flag(rng, 0.1 if shares else 0.015),
        "marketingSuspended": _flag(rng, 0.01),
        "favoriteStore_c": rng.choice(_STORES),
        "createdAt": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "updatedAt": (created + timedelta(days=rng.randrange(90))).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _enlist(rng: random.Random, made: Generated, lead: dict[str, Any]) -> None:
    lead_id, chance = lead["id"], rng.random()
    lists = made.smart_lists
    if rng.random() < 0.9:
        lists[accounts.SMART_LIST_AUDIENCE].append(lead_id)
    if chance < 0.1:
        lists[accounts.SMART_LIST_INVITE].append(lead_id)
    elif chance < 0.13 or (lead["blackListed"] and chance < 0.4):
        lists[accounts.SMART_LIST_LEAVING].append(lead_id)
    suppressed = lead["blackListed"] or lead["marketingSuspended"]
    one = lists[accounts.SMART_LIST_ONE]
    if not one and not suppressed and chance >= 0.4 and made.numbers.get(lead_id, "").startswith("+1"):
        one.append(lead_id)
