"""The rules of a preparation as one would explain them: row by row, without a thought of speed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import phonenumbers

from airflow_sms_flow.core.filters import held_out
from airflow_sms_flow.core.phone import country_to_region
from airflow_sms_flow.core.rules import AudienceRules

Row = dict[str, Any]
#: Who has which number, if any, and is rejected for which reason, if any.
Told = tuple[int, str | None, str | None]


def told(row: Row, phone: str | None, reason: str | None) -> Told:
    """What is compared. Which of two rows of one lead is kept may hang on a hash of their cells."""
    return row["id"], phone, reason


def plain_preparation(rows: list[Row], rules: AudienceRules, denied: set[str]) -> Counter[Told]:
    """For rows whose suppress column is `blackListed`, a boolean, and conditions "=" and "!=" on text."""
    flagged = {row["id"] for row in rows if row["blackListed"]}
    taboo = {number for row in rows if row["id"] in flagged for number in valid_numbers(row, rules)}
    reasons: dict[int, str] = {}
    for place, row in enumerate(rows):
        numbers = valid_numbers(row, rules)
        tests = {
            "filtered": not all(holds(row, one.column, one.operator, one.value) for one in rules.where),
            "suppressed": row["id"] in flagged,
            "no_phone": not any((row[name] or "").strip() for name in rules.phone_fields),
            "invalid_phone": not numbers,
            "suppressed_number": rules.suppress_scope == "number" and bool(taboo & set(numbers[:1])),
            "denied": bool(denied & set(numbers[:1])),
        }
        if reason := next((one for one, yes in tests.items() if yes), None):
            reasons[place] = reason
    places = [place for place in range(len(rows)) if place not in reasons]
    for key in (lambda row: row["id"], lambda row: valid_numbers(row, rules)[0]):
        ranked = sorted(places, key=lambda place: (key(rows[place]), rank(rows[place], rules)))
        groups = [list(some) for _, some in groupby(ranked, key=lambda place: key(rows[place]))]
        reasons |= {place: "duplicate" for _, *others in groups for place in others}
        places = [first for first, *_ in groups]
    numbers = [next(iter(valid_numbers(row, rules)), None) for row in rows]
    lowest: dict[str | None, int] = {}
    for row, number in zip(rows, numbers, strict=True):
        lowest[number] = min(row["id"], lowest.get(number, row["id"]))
    owners = [lowest[numbers[place]] for place in places]
    chosen = held_out(owners, rules.holdout, rules.holdout_name)
    reasons |= {place: "holdout" for place, out in zip(places, chosen, strict=True) if out}
    return Counter(
        told(row, next(iter(valid_numbers(row, rules)), None), reasons.get(place))
        for place, row in enumerate(rows)
    )


def valid_numbers(row: Row, rules: AudienceRules) -> list[str]:
    """In the order of the phone fields."""
    region = country_to_region(row["country"] or "") or rules.default_region
    found = []
    for name in rules.phone_fields:
        try:
            number = phonenumbers.parse(row[name], region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            found.append(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return found


def holds(row: Row, column: str, operator: str, value: object) -> bool:
    """Nothing holds for what is missing."""
    cell = row[column]
    return bool(cell) and (cell == value) == (operator == "=")


def rank(row: Row, rules: AudienceRules) -> tuple[Any, ...]:
    """The lowest wins: highest number, then highest text, then what is missing; then the lowest id, and among
    rows of one lead the lowest number."""
    number, text = None, ""
    if rules.keep == "newest_updated":
        number = moment(row["updatedAt"])
    elif rules.keep_column is not None:
        text = row[rules.keep_column] or ""
        number = float(text) if text.isdigit() else None
    letters = [-ord(letter) for letter in text] if number is None else []
    best = (number is None, -(number or 0.0), [*letters, 1])
    return *best, row["id"], int(next(iter(valid_numbers(row, rules)), "0"))


def moment(text: str | None) -> float | None:
    """Seconds since 1970."""
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC).timestamp()
    except ValueError:
        return None
