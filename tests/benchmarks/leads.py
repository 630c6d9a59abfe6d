"""An export file of made-up people, of any size."""

from __future__ import annotations

import random
from pathlib import Path

from airflow_sms_flow.sandbox.numbers import us_number

BOOLEANS = ("blackListed", "marketingSuspended")
COLUMNS = (
    "id", "mobilePhone", "country", *BOOLEANS, "firstName", "lastName", "updatedAt", "email", "city", "state",
    "company",
)  # fmt: skip
_PEOPLE = 50_000  # so many differ in more than their ids
_CHOICES = (
    ("US", "CA", "United States", "null"),
    ("true", "false", "false", "false"),
    ("false", "null"),
    ("Ada", "Bo", "Zoë", "Jean-Luc", "María", "none", "N/A", '"O""Neil"'),
)


def write_export(path: Path, megabytes: float) -> int:
    """At least so large, 12 columns, some 125 bytes a person; returns the number of people."""
    dice = random.Random(1)
    people = [_person(dice) for _ in range(_PEOPLE)]
    size = rows = 0
    with path.open("wb") as file:
        size += file.write((",".join(COLUMNS) + "\n").encode())
        while size < megabytes * 1e6:
            some = range(rows, rows + min(_PEOPLE, int((megabytes * 1e6 - size) / 125) + 1))
            size += file.write("".join([f"{n},{people[n % _PEOPLE]}\n" for n in some]).encode())
            rows += len(some)
    return rows


def _person(dice: random.Random) -> str:
    country, black_listed, suspended, first_name = (dice.choice(words) for words in _CHOICES)
    day = f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}"
    cells = [us_number(dice.randrange(1_000_000)), country, black_listed, suspended, first_name]
    cells += [f"Lastname{dice.randrange(99_999)}", f"{day}T{dice.randrange(24):02}:15:00Z"]
    cells += [
        f"user{dice.randrange(10**7)}@example.com",
        dice.choice(("Springfield", "null", '"Portland, OR"')),
    ]
    cells += [dice.choice(("CA", "NY", "null")), dice.choice(("null", "Acme", '"Smith, Sons"'))]
    return ",".join(cells)
