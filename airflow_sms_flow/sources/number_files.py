"""Lists of phone numbers in files, for the rules `allow_list` and `deny_list`."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import BinaryIO

import pandas as pd
import pyarrow as pa

from airflow_sms_flow.core.cells import as_text
from airflow_sms_flow.core.column_names import are_data, shown
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.file_kinds import kind_of_file, without_query
from airflow_sms_flow.core.filters import NumberLists
from airflow_sms_flow.core.number_entries import holding_another, surely_nobodys
from airflow_sms_flow.core.phone import normalise_phones
from airflow_sms_flow.core.phone_set import Numbers, PhoneSet, as_numbers
from airflow_sms_flow.core.rules import AudienceRules, NumberFile
from airflow_sms_flow.sources.files import open_bytes, open_file, refusing_broken

log = logging.getLogger(__name__)

_LINES_AT_ONCE = 50_000
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class NumbersRead:
    """`phones`: the valid numbers. `invalid`: entries that are none, although each is one number and says its
    country. `unclear`: all others that are none, or that hold more than the one number which was read."""

    phones: PhoneSet
    invalid: int
    unclear: int

    def refuse_unclear(self, file: NumberFile, region: str, field: str) -> None:
        """For a list of numbers that must not be texted: what cannot be read must not be passed over."""
        if self.unclear:
            remedy = (
                f"{self.unclear:,} entries are no valid number in {region}, or more than one; write each "
                "number alone, those of other countries with + and the country code, and take out what is no "
                "number"
            )
            raise InvalidInput(field, without_query(file.path), remedy)

    def refuse_without_numbers(self, file: NumberFile, field: str) -> None:
        """A list may be empty, but entries of which none is a number are those of another file or column."""
        entries = self.invalid + self.unclear
        if entries and not self.phones:
            remedy = f"none of its {entries:,} entries is a valid number; name a list of numbers"
            raise InvalidInput(field, without_query(file.path), remedy)


def read_lists(rules: AudienceRules) -> NumberLists:
    """The numbers of the files that the rules name. Raises `InvalidInput` for one that cannot be read."""
    return NumberLists(
        allow=_numbers_of("allow_list", rules.allow_list, rules.default_region),
        deny=_numbers_of("deny_list", rules.deny_list, rules.default_region),
    )


def _numbers_of(rule: str, file: NumberFile | None, region: str) -> PhoneSet | None:
    if file is None:
        return None
    read = read_numbers(file, region, rule)
    if rule == "deny_list":
        read.refuse_unclear(file, region, rule)
    read.refuse_without_numbers(file, rule)
    log.info("%s: %s numbers", rule, f"{len(read.phones):,}")
    if read.invalid + read.unclear:
        log.warning("%s: %s entries are no valid number", rule, f"{read.invalid + read.unclear:,}")
    return read.phones


def read_numbers(file: NumberFile, region: str, field: str) -> NumbersRead:
    """The numbers of a file, read as a preparation reads its leads' (those without a country code in
    `region`). Empty cells, empty lines and lines that begin with # do not count; where there is nothing else,
    the list is empty.

    Raises `InvalidInput` for a file that cannot be read, and for one without the column; `field` is the
    parameter that errors name.
    """
    parts: list[Numbers] = []
    invalid = unclear = 0
    with _entries(file, field) as pieces:
        for texts in pieces:
            phones = normalise_phones(texts, region)
            numbers = as_numbers(pa.array(phones.dropna(), pa.string()))
            parts.append(numbers)
            nobodys = int(surely_nobodys(texts[phones.isna()]).sum())
            invalid += nobodys
            # A valid number that the set cannot hold must not vanish, either.
            unclear += len(texts) - len(numbers) - nobodys
            unclear += int(holding_another(texts, phones).sum())
    return NumbersRead(PhoneSet.merged(parts), invalid, unclear)


@contextmanager
def _entries(file: NumberFile, field: str) -> Iterator[Iterator[pd.Series[str]]]:
    kind = kind_of_file(file.path)
    if kind is None:
        with open_bytes(file.path, field) as raw:
            yield (_worth_reading(lines) for lines in _lines(raw, file.path, field))
        return
    with open_file(file.path, kind, field=field) as source:
        column = _column(file, source.names, field)
        batches = source.read([column])
        yield (_worth_reading(as_text(batch.column(0), column).to_pylist()) for batch in batches)


def _column(file: NumberFile, names: tuple[str, ...], field: str) -> str:
    if file.column is None and len(names) == 1 and not are_data(names):
        _refuse_one_of_many(names[0], file, field)
        return names[0]
    column = file.column or "phone"
    if names.count(column) == 1:
        return column
    near = [] if are_data(names) else get_close_matches(column, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    remedy = (
        f"has not exactly one column {column!r}, only {shown(names)}; {hint}"
        'name it: {"path": ..., "column": ...}'
    )
    raise InvalidInput(field, without_query(file.path), remedy)


def _refuse_one_of_many(name: str, file: NumberFile, field: str) -> None:
    found = next((one for one in _DELIMITERS if one in name), None)
    if found:
        remedy = (
            f"has one column, {name!r}, as if {found!r} stood between several; write a CSV file with commas "
            'or a .tsv file with tabs, or name that column: {"path": ..., "column": ...}'
        )
        raise InvalidInput(field, without_query(file.path), remedy)


def _lines(raw: BinaryIO, path: str, field: str) -> Iterator[list[str | None]]:
    """Lines end with LF, CRLF or CR. A byte order mark may begin each, as it does where files were joined."""
    lines = io.TextIOWrapper(raw, encoding="utf-8")
    try:
        with refusing_broken(path, field):
            while piece := [line.lstrip("\ufeff").strip() for line in islice(lines, _LINES_AT_ONCE)]:
                yield [None if text.startswith("#") else text for text in piece]
    except UnicodeDecodeError:
        remedy = "is no text in UTF-8; give one number a line, or name a .csv or .parquet file"
        raise InvalidInput(field, without_query(path), remedy) from None


def _worth_reading(entries: Iterable[str | None]) -> pd.Series[str]:
    return pd.Series([one for one in entries if one is not None and one.strip()], dtype=object)
