"""What a piece of the leads says by itself: nothing here needs to have seen the other pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.cells import as_flags
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import Mask, filtered
from airflow_sms_flow.core.phone import check_region, country_to_region, normalise_phones
from airflow_sms_flow.core.phone_set import Numbers, numbers_or_zero
from airflow_sms_flow.core.rules import DEFAULT_COUNTRY_FIELD, AudienceRules

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of some leads, row for row: some twenty bytes each, so that millions can be weighed
    together."""

    ids: Numbers
    numbers: tuple[Numbers, ...]  #: for each of `phone_fields` the valid number without its plus, else 0
    blank: Mask  #: nothing stands in any of `phone_fields`
    flagged: Mask  #: a suppress column says yes
    filtered: Mask  #: a condition of `where` does not hold
    odd: npt.NDArray[np.int64]  #: for each suppress column, how many cells say neither yes nor no

    @classmethod
    def nobody(cls, rules: AudienceRules) -> Look:
        """No leads at all."""
        no, nothing = np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
        numbers = tuple(nothing for _ in rules.phone_fields)
        return cls(nothing, numbers, no, no, no, np.zeros(len(rules.suppress), dtype=np.int64))

    @classmethod
    def together(cls, looks: Sequence[Look], rules: AudienceRules) -> Look:
        """All of them as one. Raises `InvalidInput` for a suppress column with odd cells: none of them is
        ever taken for a "no"."""
        looks = [cls.nobody(rules), *looks]
        whole = cls(
            np.concatenate([one.ids for one in looks]),
            tuple(np.concatenate(columns) for columns in zip(*(one.numbers for one in looks), strict=True)),
            np.concatenate([one.blank for one in looks]),
            np.concatenate([one.flagged for one in looks]),
            np.concatenate([one.filtered for one in looks]),
            np.sum([one.odd for one in looks], axis=0),
        )
        for column, odd in zip(rules.suppress, whole.odd, strict=True):
            if odd:
                remedy = f"{odd} rows hold something other than true, false, 1, 0, yes, no or nothing; "
                raise InvalidInput("suppress", column, f"{remedy}clean the column")
        return whole


def needed_columns(columns: Iterable[str], rules: AudienceRules) -> list[str]:
    """Those of the leads' columns that `look` reads.

    Raises `InvalidInput` for a column that a rule names and the leads lack, `keep`'s among them.
    """
    wanted = [("id", "id"), *(("phone_fields", name) for name in rules.phone_fields)]
    wanted += [("suppress", name) for name in rules.suppress]
    wanted += [("where", condition.column) for condition in rules.where]
    if rules.country_field not in (None, DEFAULT_COUNTRY_FIELD):
        wanted.append(("country_field", str(rules.country_field)))
    there = list(columns)
    later = [] if rules.keep_column is None else [("keep", rules.keep_column)]
    for rule, name in wanted + later:
        if name not in there:
            near = get_close_matches(name, there, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"the file has {', '.join(there)}"
            raise InvalidInput(rule, name, f"no such column in the leads; extract it (fields=...), or {hint}")
    names = dict.fromkeys(name for _, name in wanted)
    if rules.country_field in there:
        names[str(rules.country_field)] = None
    return list(names)


def look(rows: pa.RecordBatch, rules: AudienceRules) -> Look:
    """Read the columns that `needed_columns` names. Raises `InvalidInput` for ids that are not whole numbers,
    and for conditions that do not fit their column."""
    answers = [_yes_and_odd(rows.column(name), name) for name in rules.suppress]
    nobody = np.zeros(rows.num_rows, dtype=bool)
    return Look(
        ids=_ids(rows.column("id")),
        numbers=tuple(numbers_or_zero(phones) for phones in _phones(rows, rules)),
        blank=np.logical_and.reduce([_is_blank(rows.column(name)) for name in rules.phone_fields]),
        flagged=np.logical_or.reduce([nobody, *(yes for yes, _ in answers)]),
        filtered=filtered(rows, rules.where),
        odd=np.array([odd for _, odd in answers], dtype=np.int64),
    )


def flagged(rows: pa.RecordBatch, rules: AudienceRules) -> Mask:
    """Where a suppress column says yes, of rows that `look` took before."""
    nobody = np.zeros(rows.num_rows, dtype=bool)
    answers = (_yes_and_odd(rows.column(name), name) for name in rules.suppress)
    found: Mask = np.logical_or.reduce([nobody, *(yes for yes, _ in answers)])
    return found


def first_valid(numbers: Sequence[Numbers]) -> Numbers:
    """Of the numbers in each row the first, 0 where there is none."""
    first, *others = numbers
    for other in others:
        first = np.where(first == 0, other, first)
    return first


def first_valid_phones(rows: pa.RecordBatch, rules: AudienceRules) -> list[str | None]:
    """The number of each lead as a preparation finds it, whatever else is to be said of the lead; None: no
    valid one. For the step that spares nobody. Raises `InvalidInput` for a missing column."""
    check_region("default_region", rules.default_region)
    needed_columns(rows.schema.names, rules)
    found: list[str | None] = pc.coalesce(*_phones(rows, rules)).to_pylist()
    return found


def _ids(cells: Any) -> Numbers:
    whole = pa.types.is_integer(cells.type) or not len(cells)
    if cells.null_count or not whole:
        remedy = (
            f"needs a whole number in every row; {cells.null_count} are missing, the type is {cells.type}"
        )
        raise InvalidInput("audience", "id", remedy)
    ids: Numbers = pc.cast(cells, pa.int64()).to_numpy(zero_copy_only=False)
    return ids


def _phones(rows: pa.RecordBatch, rules: AudienceRules) -> list[Any]:
    """Each phone column as E.164, read in the country of its lead."""
    region: str | pd.Series[Any] = rules.default_region
    if rules.country_field in rows.schema.names:
        region = _regions(rows.column(str(rules.country_field)), rules.default_region)
    found = []
    for name in rules.phone_fields:
        cells = rows.column(name)
        if _is_text(cells.type) or pa.types.is_null(cells.type):
            cells = pc.cast(cells, pa.string())
        column = pd.Series(pd.arrays.ArrowExtensionArray(cells), name=name)
        found.append(pa.array(normalise_phones(column, region), pa.string()))
    return found


def _regions(countries: Any, default: str) -> str | pd.Series[Any]:
    if not _is_text(countries.type):
        return default
    told = pc.dictionary_encode(pc.cast(countries, pa.string()))
    known = [country_to_region(name) or default for name in told.dictionary.to_pylist()]
    if set(known) <= {default}:
        return default
    places = pc.fill_null(told.indices, len(known)).to_numpy(zero_copy_only=False)
    return pd.Series(np.array([*known, default], dtype=object)[places])


def _yes_and_odd(cells: Any, column: str) -> tuple[Mask, int]:
    """Which cells say yes, and how many say neither yes nor no."""
    flags, odd = as_flags(cells, column)
    return _mask(flags), odd


def _is_blank(cells: Any) -> Mask:
    if not _is_text(cells.type):
        return np.ones(len(cells), dtype=bool)
    texts = pc.cast(cells, pa.string())
    return _mask(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True))


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _mask(found: Any) -> Mask:
    mask: Mask = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return mask
