"""A process that reads one column of made-up phone numbers in one way, and tells what that took.

    python -m tests.benchmarks.one_column AUDIENCE WAY ROWS

A process of its own, since the library's pattern cache cannot be turned off again, and for the memory.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from airflow_sms_flow.core.phone import normalise_phones
from tests.benchmarks.measuring import peak_mb

E164, INTERNATIONAL, NATIONAL = (
    PhoneNumberFormat.E164,
    PhoneNumberFormat.INTERNATIONAL,
    PhoneNumberFormat.NATIONAL,
)
PLAIN_FORMATS = [
    "({a}) {b}-{c}", "{a}-{b}-{c}", "{a}.{b}.{c}", "{a}{b}{c}", "+1{a}{b}{c}", "1-{a}-{b}-{c}", "{a} {b} {c}",
    "+1 ({a}) {b}-{c}", "1{a}{b}{c}", "({a}){b}-{c}", "{a}/{b}-{c}", "+1 {a} {b} {c}",
]  # fmt: skip
ODD_FORMATS = [
    "{a}-{b}-{c} x{d}", "({a}) {b}-{c} ext. {d}", "Tel: {a}-{b}-{c}", "{a}\u00a0{b}\u00a0{c}", "{a}-{b}-{c};",
    "{a}\u2013{b}\u2013{c}", "{a}-{b}-{c} (home)", "+1 (1) {a} {b} {c}", "{a}{b}{c}, {a}{b}{c}",
    "1-{a}-FLOWERS", "011 44 20 7946 {c}",
]  # fmt: skip
JUNK = [
    "{b}-{c}", "none", "N/A", "000-000-0000", "{a}-{b}", "{a}{b}{c}{c}", "x{d}", "ask {b}",
    "a{c}@example.com",
]  # fmt: skip
#: American and Canadian; other exchanges than the usual come by chance.
AREA_CODES = [
    202, 206, 212, 213, 214, 215, 303, 305, 312, 404, 415, 503, 512, 602, 617, 702, 713, 718, 787, 813, 916,
    204, 250, 306, 403, 416, 418, 438, 506, 514, 519, 604, 613, 647, 705, 709, 778, 780, 819, 902, 905,
]  # fmt: skip


Column = tuple[list[str | None], str | list[str]]


def main() -> None:
    audience, way, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    texts, region = AUDIENCES[audience](Writer(), rows)
    numbers = pd.Series(texts, dtype=object)
    regions = region if isinstance(region, str) else pd.Series(region, dtype=object)
    before, start = peak_mb(), time.process_time()
    found = WAYS[way](numbers, regions)
    seconds = time.process_time() - start
    told = {"seconds": seconds, "mb": peak_mb() - before, "valid": int(found.notna().sum())}
    told["digest"] = hashlib.sha256("\n".join(found.fillna("")).encode()).hexdigest()
    print(json.dumps(told))


class Writer:
    """Somebody who types numbers, and types the same ones in every process."""

    def __init__(self) -> None:
        self.dice = random.Random(1)
        kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
        examples = {
            region: [phonenumbers.example_number_for_type(region, kind) for kind in kinds]
            for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        }
        self._examples = {region: [one for one in two if one] for region, two in examples.items()}
        self._abroad = [region for region, some in examples.items() if some and region not in ("US", "CA")]

    def american(self, formats: list[str]) -> str:
        """A number in one of `formats`; "American" includes Canada."""
        dice = self.dice
        area = dice.choice(AREA_CODES) if dice.random() < 0.95 else dice.randint(200, 999)
        line, extension = f"{dice.randrange(10_000):04}", dice.randint(1, 9999)
        return dice.choice(formats).format(a=area, b=dice.randint(200, 999), c=line, d=extension)

    def of_region(self, region: str, formats: Sequence[int]) -> str:
        """A number of that region with its last digits changed, valid more often than not."""
        example = self.dice.choice(self._examples[region])
        text = phonenumbers.format_number(example, self.dice.choice(formats))
        return text[:-3] + f"{self.dice.randrange(1000):03}"

    def foreign(self) -> str:
        """One from anywhere but the US and Canada, with its calling code."""
        return self.of_region(self.dice.choice(self._abroad), (E164, INTERNATIONAL))

    def british(self) -> str:
        """As people in Britain write their own."""
        text = self.of_region("GB", (NATIONAL, NATIONAL, INTERNATIONAL, E164))
        return text.replace("+44 ", "+44 (0)") if self.dice.random() < 0.3 else text


def mixed(writer: Writer, rows: int) -> Column:
    """What the goal speaks of."""

    def one() -> str | None:
        kind = writer.dice.random()
        if kind < 0.89:
            return writer.american(PLAIN_FORMATS)
        if kind < 0.93:
            return writer.american(ODD_FORMATS)
        if kind < 0.965:
            return writer.foreign()
        return writer.american(JUNK) if kind < 0.985 else writer.dice.choice(["", None])

    texts = [one() for _ in range(rows * 4 // 5)]
    texts += writer.dice.choices(texts, k=rows - len(texts))
    writer.dice.shuffle(texts)
    return texts, "US"


def by_country(writer: Writer, rows: int) -> Column:
    """Everybody has a country, and writes as one does there."""
    regions = writer.dice.choices(["US", "CA", "GB", "DE", "MX", "FR"], k=rows)
    american = ("US", "CA")
    texts = [
        writer.american(PLAIN_FORMATS)
        if one in american
        else writer.of_region(one, (NATIONAL, INTERNATIONAL))
        for one in regions
    ]
    return list(texts), regions


def all_distinct(writer: Writer, rows: int) -> Column:
    texts: dict[str | None, None] = {}
    while len(texts) < rows:
        texts[writer.american(PLAIN_FORMATS)] = None
    return list(texts), "US"


AUDIENCES: dict[str, Callable[[Writer, int], Column]] = {
    "mixed": mixed,
    "distinct": all_distinct,
    "by country": by_country,
    "british": lambda writer, rows: ([writer.british() for _ in range(rows)], "GB"),
    "foreign": lambda writer, rows: ([writer.foreign() for _ in range(rows)], "US"),
    "odd": lambda writer, rows: ([writer.american(ODD_FORMATS) for _ in range(rows)], "US"),
    "junk": lambda writer, rows: ([writer.american(JUNK) for _ in range(rows)], "US"),
}


def one_by_one(numbers: pd.Series[Any], region: str | pd.Series[Any]) -> pd.Series[Any]:
    """What everybody writes."""
    if isinstance(region, str):
        return numbers.apply(partial(by_the_library, region=region))
    return pd.Series(list(map(by_the_library, numbers, region)), index=numbers.index, dtype=object)


def by_the_library(number: str | None, region: str) -> str | None:
    """The definition of what a number is."""
    if number is None:
        return None
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(parsed, E164) if phonenumbers.is_valid_number(parsed) else None


def with_the_cache(numbers: pd.Series[Any], region: str | pd.Series[Any]) -> pd.Series[Any]:
    """The same with the library's compiled patterns kept."""
    getattr(phonenumbers, "enable_pattern_cache", lambda: None)()
    return one_by_one(numbers, region)


WAYS: dict[str, Callable[[pd.Series[Any], str | pd.Series[Any]], pd.Series[Any]]] = {
    "apply": one_by_one,
    "cache": with_the_cache,
    "ours": normalise_phones,
}

if __name__ == "__main__":
    main()
