"""Who gets a text: one row per distinct number, and a reason for everybody else.

`judge` decides, `prepare` splits. Both change nothing they are given, and no result depends on the order
of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import NumberLists, denied, filtered, held_out, not_allowed
from airflow_sms_flow.core.phone import check_region, country_to_region, normalise_phones
from airflow_sms_flow.core.rules import (
    DEFAULT_COUNTRY_FIELD,
    NEWEST_UPDATED,
    REASONS,
    AudienceRules,
    Funnel,
)

__all__ = [
    "OWN_COLUMNS",
    "REASONS",
    "AudienceRules",
    "Funnel",
    "Prepared",
    "judge",
    "prepare",
    "renamed",
    "renamed_display_names",
]

#: Columns that a preparation adds. Extracted ones of the same name move to `<name>_raw`: Marketo's own
#: `phone` is the work phone as somebody typed it, ours is the number that gets the text.
OWN_COLUMNS = ("phone", "reason")

_NO_LISTS = NumberLists()
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of the leads.

    `audience`: every extracted column, and `phone` (E.164 text, each number once).
    `rejected`: the same columns with `phone` where a valid one was found, and `reason`.
    Both are ordered by id.
    """

    audience: pd.DataFrame
    rejected: pd.DataFrame
    funnel: Funnel


def prepare(leads: pd.DataFrame, rules: AudienceRules, lists: NumberLists = _NO_LISTS) -> Prepared:
    """Split leads into those to be texted and those who are not, with the reason.

    `leads` needs an `id` column of whole numbers and the columns that `rules` names; all others travel
    along. Should one id stand in several rows, one row is kept, the others are `duplicate`, and a "yes" in
    a suppress column of any of them counts for all.

    Missing is null, or text that is empty or white space; "N/A" and "none" are values.
    Raises `InvalidInput` for a missing column, ids that are not whole numbers, and a suppress column with
    text other than true, false, 1, 0, yes, no (in any case): an odd value is never taken for a "no".
    Also for a condition that does not fit its column, and for more people than `rules.max_recipients`.
    `lists` are the numbers of the files that `rules` names.
    """
    leads = leads.reset_index(drop=True)
    verdicts = judge(leads, rules, lists)
    whole = leads.rename(columns={name: renamed(name, leads.columns) for name in leads.columns})
    whole = whole.assign(phone=verdicts["phone"], reason=verdicts["reason"])
    whole = whole.iloc[_in_order(leads, verdicts)]
    kept = whole["reason"].isna()
    audience = whole[kept].drop(columns="reason").reset_index(drop=True)
    rejected = whole[~kept].reset_index(drop=True)
    counts = {str(reason): int(count) for reason, count in rejected["reason"].value_counts().items()}
    funnel = Funnel(len(leads), len(audience), counts)
    rules.check_size(funnel)
    return Prepared(audience, rejected, funnel)


def judge(leads: pd.DataFrame, rules: AudienceRules, lists: NumberLists = _NO_LISTS) -> pd.DataFrame:
    """The columns `id` (int64), `phone` and `reason` (text, missing for those who are kept).

    Row for row as in `leads`, with a fresh index 0, 1, 2 …
    """
    _check_columns(leads, rules)
    check_region("default_region", rules.default_region)
    lists.check(rules)
    leads = leads.reset_index(drop=True)
    ids = _ids(leads)
    numbers = _numbers(leads, rules)
    phone = _first_of(numbers)
    suppressed = _suppressed(leads, ids, rules)
    blank = np.logical_and.reduce([_is_blank(leads[name]) for name in rules.phone_fields])
    never = np.zeros(len(leads), dtype=bool)
    taboo = pd.concat([column[suppressed] for column in numbers]).dropna().unique()
    shared = phone.isin(taboo).to_numpy() if rules.suppress_scope == "number" else never
    tests = {
        "filtered": filtered(leads, rules.where),
        "suppressed": suppressed,
        "no_phone": blank,
        "invalid_phone": phone.isna().to_numpy(),
        "suppressed_number": shared,
        "denied": denied(phone, lists),
        "not_allowed": not_allowed(phone, lists),
    }
    reason = pd.Series(np.select(list(tests.values()), list(tests), default=""), dtype=object)
    verdicts = pd.DataFrame({"id": ids, "phone": phone, "reason": reason})
    open_rows = verdicts.index[verdicts["reason"] == ""]
    verdicts.loc[_losers(leads, verdicts.loc[open_rows], rules), "reason"] = "duplicate"
    if rules.holdout:
        chosen = held_out(ids, rules.holdout, rules.holdout_name)
        verdicts.loc[chosen & (verdicts["reason"] == "").to_numpy(), "reason"] = "holdout"
    verdicts["reason"] = verdicts["reason"].replace("", None).astype("string")
    return verdicts


def first_valid_phones(leads: pd.DataFrame, rules: AudienceRules) -> list[str | None]:
    """The number of each lead as `judge` finds it, whatever else is to be said of the lead; None: no valid
    one. For the step that spares nobody. Raises `InvalidInput` for a missing column."""
    check_region("default_region", rules.default_region)
    _check_columns(leads, rules)
    phones = _first_of(_numbers(leads.reset_index(drop=True), rules))
    return [None if pd.isna(phone) else str(phone) for phone in phones]


def renamed(column: str, columns: Iterable[str]) -> str:
    """What an extracted column is called in a prepared file: its name, or `phone_raw` for `phone`."""
    if column not in OWN_COLUMNS:
        return column
    new = f"{column}_raw"
    if new in columns:
        raise InvalidInput(
            "audience", new, f"the file has {column!r} and {new!r}; extract it without {new!r}"
        )
    return new


def renamed_display_names(display_names: Mapping[str, str], columns: Iterable[str]) -> dict[str, str]:
    """Marketo's display names for a prepared file: they follow the renamed columns."""
    names = set(columns)
    moved = {shown: renamed(column, names) for shown, column in display_names.items()}
    # A token with the REST name means Marketo's field, not our number.
    moved.update({column: renamed(column, names) for column in OWN_COLUMNS if column in names})
    return moved


def _check_columns(leads: pd.DataFrame, rules: AudienceRules) -> None:
    wanted = [("id", "id"), *(("phone_fields", name) for name in rules.phone_fields)]
    wanted += [("suppress", name) for name in rules.suppress]
    if rules.country_field not in (None, DEFAULT_COUNTRY_FIELD):
        wanted.append(("country_field", str(rules.country_field)))
    if rules.keep_column is not None:
        wanted.append(("keep", rules.keep_column))
    wanted += [("where", condition.column) for condition in rules.where]
    columns = [str(name) for name in leads.columns]
    for rule, name in wanted:
        if name not in columns:
            near = get_close_matches(name, columns, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"the file has {', '.join(columns)}"
            raise InvalidInput(rule, name, f"no such column in the leads; extract it (fields=...), or {hint}")


def _ids(leads: pd.DataFrame) -> pd.Series[Any]:
    ids = leads["id"]
    if ids.isna().any() or not (pd.api.types.is_integer_dtype(ids.dtype) or len(ids) == 0):
        remedy = (
            f"needs a whole number in every row; {int(ids.isna().sum())} are missing, the type is {ids.dtype}"
        )
        raise InvalidInput("audience", "id", remedy)
    return ids.astype("int64")


def _numbers(leads: pd.DataFrame, rules: AudienceRules) -> list[pd.Series[Any]]:
    """Each phone column as E.164, read in the country of its lead."""
    region: str | pd.Series[Any] = rules.default_region
    if rules.country_field in leads.columns:
        countries = leads[rules.country_field].astype(object)
        known = {
            name: country_to_region(name) for name in countries.dropna().unique() if isinstance(name, str)
        }
        region = countries.map(known).astype(object)
        region = region.where(region.notna(), rules.default_region)
    return [normalise_phones(leads[name].astype(object), region) for name in rules.phone_fields]


def _first_of(numbers: Sequence[pd.Series[Any]]) -> pd.Series[Any]:
    """The first number of each row. (`bfill(axis=1)` says the same, but goes row by row.)"""
    first, *others = numbers
    for other in others:
        first = first.fillna(other)
    return first


def _suppressed(leads: pd.DataFrame, ids: pd.Series[Any], rules: AudienceRules) -> np.ndarray[Any, Any]:
    suppressed = np.zeros(len(leads), dtype=bool)
    for name in rules.suppress:
        suppressed |= _is_yes(leads[name])
    return ids.isin(ids[suppressed]).to_numpy()


def _is_yes(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Read booleans strictly, whatever their type."""
    meanings: dict[object, bool | None] = {}
    for value in column.astype(object).dropna().unique():
        word = (
            str(int(value))
            if isinstance(value, float) and value.is_integer()
            else str(value).strip().casefold()
        )
        meanings[value] = True if word in _YES else False if word in _NO or not word else None
    if None in meanings.values():
        odd = int(column.isin([value for value, meaning in meanings.items() if meaning is None]).sum())
        remedy = (
            f"{odd} rows hold something other than true, false, 1, 0, yes, no or nothing; clean the column"
        )
        raise InvalidInput("suppress", str(column.name), remedy)
    yes = [value for value, meaning in meanings.items() if meaning]
    return column.astype(object).isin(yes).to_numpy()


def _is_blank(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    values = column.astype(object)
    return np.array([not isinstance(value, str) or not value.strip() for value in values], dtype=bool)


def _losers(leads: pd.DataFrame, candidates: pd.DataFrame, rules: AudienceRules) -> pd.Index[Any]:
    """The rows that give way: first all but one row per lead, then all but one lead per number."""
    again = _all_but_the_first(leads, candidates, "id", rules)
    return again.append(_all_but_the_first(leads, candidates.drop(again), "phone", rules))


def _all_but_the_first(
    leads: pd.DataFrame, candidates: pd.DataFrame, key: str, rules: AudienceRules
) -> pd.Index[Any]:
    tied = candidates[candidates[key].duplicated(keep=False)]
    if tied.empty:
        return tied.index
    ranked = _ranked(leads.loc[tied.index], tied, rules)
    return ranked.index[ranked[key].duplicated(keep="first")]


def _ranked(leads: pd.DataFrame, tied: pd.DataFrame, rules: AudienceRules) -> pd.DataFrame:
    """Best first. The last two keys only matter for rows with one id, whose order must not, either."""
    number, text = _rank(leads, rules)
    ranks = pd.DataFrame({"number": number, "text": text}, index=tied.index)
    ranks = ranks.assign(id=tied["id"], phone=tied["phone"].astype(object), row=_fingerprints(leads))
    by = ["number", "text", "id", "phone", "row"]
    return ranks.sort_values(by, ascending=[False, False, True, True, True], na_position="last")


def _rank(leads: pd.DataFrame, rules: AudienceRules) -> tuple[Any, Any]:
    """What `keep` compares, value by value, so that no other row changes it: a number, else a text."""
    if rules.keep_column is None:
        return 0.0, ""
    values = leads[rules.keep_column].astype(object)
    text = values.map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
    if rules.keep == NEWEST_UPDATED:
        moments = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce")
        return moments.map(lambda moment: np.nan if pd.isna(moment) else moment.timestamp()).astype(float), ""
    number = pd.to_numeric(text, errors="coerce").astype(float)
    return number, text.where(number.isna(), "")


def _fingerprints(leads: pd.DataFrame) -> list[int]:
    text = leads.astype(object).map(lambda value: "" if pd.isna(value) else str(value))
    return [int(one) for one in pd.util.hash_pandas_object(text, index=False)]


def _in_order(leads: pd.DataFrame, verdicts: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Positions by id; rows of one lead by what they hold."""
    order = verdicts.reset_index(drop=True)
    by = ["id"]
    if order["id"].duplicated().any():
        order, by = order.assign(row=_fingerprints(leads)), ["id", "phone", "reason", "row"]
    return order.sort_values(by).index.to_numpy()
