"""Who gets a text: one row per distinct number, and a reason for everybody else.

`judge` decides and `split` hands out. The leads come in pieces and are read again and again rather than held:
all that stays is some thirty bytes a lead. No result depends on the order of the rows, nor on the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_sms_flow.core.contest import Ranks, losers, rank, repeated
from airflow_sms_flow.core.errors import InvalidInput, SmsFlowError
from airflow_sms_flow.core.filters import Mask, NumberLists, denied, held_out, not_allowed
from airflow_sms_flow.core.leads import Look, first_valid, look, needed_columns
from airflow_sms_flow.core.phone import check_region
from airflow_sms_flow.core.phone_set import Numbers, as_phones
from airflow_sms_flow.core.rules import REASONS, AudienceRules, Funnel

__all__ = [
    "OWN_COLUMNS",
    "REASONS",
    "AudienceRules",
    "Funnel",
    "Read",
    "Verdicts",
    "judge",
    "prepared_schema",
    "renamed",
    "renamed_display_names",
    "split",
    "weigh",
]

#: Reads the leads from their beginning, in the same order at each call: the named columns, or all for None.
Read = Callable[[Sequence[str] | None], Iterable[pa.RecordBatch]]

#: Columns that a preparation adds. Extracted ones of the same name move to `<name>_raw`: Marketo's own
#: `phone` is the work phone as somebody typed it, ours is the number that gets the text.
OWN_COLUMNS = ("phone", "reason")

_NO_LISTS = NumberLists()
#: Reasons as one byte each, 0 for those who are kept.
_CODES = {reason: np.uint8(code) for code, reason in enumerate(REASONS, start=1)}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What became of the leads, in the order in which they were read.

    `numbers`: E.164 without the plus, 0 where there is none. `codes`: 0 for those who are kept, else the
    place of their reason in `REASONS`, counted from 1.
    """

    ids: Numbers
    numbers: Numbers
    codes: npt.NDArray[np.uint8]

    @property
    def funnel(self) -> Funnel:
        """How many of them, and why."""
        kept, *rejected = np.bincount(self.codes, minlength=len(REASONS) + 1).tolist()
        return Funnel(len(self.codes), kept, dict(zip(REASONS, rejected, strict=True)))

    def of(self, rows: pa.RecordBatch, start: int) -> Verdicts:
        """Those of some rows, the first of which was the `start`-th lead.

        Raises `SmsFlowError` where these are others than the ones that were judged.
        """
        those = slice(start, start + rows.num_rows)
        if not np.array_equal(self.ids[those], rows.column("id").to_numpy(zero_copy_only=False)):
            raise SmsFlowError("the leads changed while they were being prepared; run the task again")
        return Verdicts(self.ids[those], self.numbers[those], self.codes[those])


def judge(
    read: Read, columns: Iterable[str], rules: AudienceRules, lists: NumberLists = _NO_LISTS
) -> Verdicts:
    """Decide who is kept, and why the others are not.

    The leads need an `id` column of whole numbers and the columns that `rules` names, among all `columns`
    that they have. Should one id stand in several rows, one row is kept, the others are `duplicate`, and a
    "yes" in a suppress column of any of them counts for all.

    Missing is null, or text that is empty or white space; "N/A" and "none" are values.
    Raises `InvalidInput` for a missing column, ids that are not whole numbers, and a suppress column with
    text other than true, false, 1, 0, yes, no (in any case): an odd value is never taken for a "no".
    Also for a condition that does not fit its column, and for more people than `rules.max_recipients`.
    `lists` are the numbers of the files that `rules` names.

    Reads the leads once, in few columns, and again where several compete for one text.
    """
    names = needed_columns(columns, rules)
    check_region("default_region", rules.default_region)
    lists.check(rules)  # before hours of work
    seen = Look.together([look(rows, rules) for rows in read(names)], rules)
    return weigh(read, seen, rules, lists)


def weigh(read: Read, seen: Look, rules: AudienceRules, lists: NumberLists) -> Verdicts:
    """The second half of `judge`, once all leads were looked at, in the order of `read`."""
    lists.check(rules)
    numbers = first_valid(seen.numbers)
    codes = _judged_alone(seen, numbers, rules, lists)
    codes[_beaten(read, seen.ids, numbers, codes == 0, rules)] = _CODES["duplicate"]
    if rules.holdout:
        out = held_out(_lowest_ids(seen.ids, numbers), rules.holdout, rules.holdout_name)
        codes[(codes == 0) & out] = _CODES["holdout"]
    verdicts = Verdicts(seen.ids, numbers, codes)
    rules.check_size(verdicts.funnel)
    return verdicts


def split(rows: pa.RecordBatch, verdicts: Verdicts) -> tuple[pa.Table, pa.Table]:
    """Those of the leads who are kept, and the others.

    Both have every extracted column and `phone` (E.164 text, null where there is no valid number), the others
    `reason`, too.
    """
    schema = prepared_schema(rows.schema)
    whole = pa.Table.from_arrays([*rows.columns, as_phones(verdicts.numbers)], schema=schema)
    kept = pa.array(verdicts.codes == 0)
    others = whole.filter(pc.invert(kept))
    codes: Any = pa.array(verdicts.codes[verdicts.codes != 0] - 1)
    return whole.filter(kept), others.append_column("reason", pa.array(REASONS).take(codes))


def prepared_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of an audience that is made of leads with these; the rejected have a `reason`, too."""
    fields = [one.with_name(renamed(one.name, schema.names)) for one in schema]
    return pa.schema([*fields, pa.field("phone", pa.string())])


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


def _judged_alone(
    seen: Look, numbers: Numbers, rules: AudienceRules, lists: NumberLists
) -> npt.NDArray[np.uint8]:
    """The reasons of those who would not get the text even if nobody shared their number."""
    suppressed = _in(seen.ids, seen.ids[seen.flagged])
    taboo = np.zeros(0, dtype=np.int64)
    if rules.suppress_scope == "number":
        taboo = np.concatenate([column[suppressed & (column != 0)] for column in seen.numbers])
    tests = {
        "filtered": seen.filtered,
        "suppressed": suppressed,
        "no_phone": seen.blank,
        "invalid_phone": numbers == 0,
        "suppressed_number": _in(numbers, taboo),
        "denied": denied(numbers, lists),
        "not_allowed": not_allowed(numbers, lists),
    }
    return np.select(list(tests.values()), [_CODES[reason] for reason in tests], default=np.uint8(0))


def _beaten(read: Read, ids: Numbers, numbers: Numbers, open_rows: Mask, rules: AudienceRules) -> Mask:
    """The rows that give way to another one with their id or number."""
    again = np.zeros(len(ids), dtype=bool)
    again[open_rows] = repeated(ids[open_rows])
    rivals = again.copy()
    rivals[open_rows] |= repeated(numbers[open_rows])
    beaten = np.zeros(len(ids), dtype=bool)
    beaten[rivals] = losers(ids[rivals], numbers[rivals], _ranks(read, rivals, again, rules))
    return beaten


def _ranks(read: Read, rivals: Mask, again: Mask, rules: AudienceRules) -> Ranks:
    whole_rows = bool(again.any())
    keep = [] if rules.keep_column is None else [rules.keep_column]
    if not keep and not whole_rows:
        return Ranks.equal(int(rivals.sum()))
    ranks, start = [Ranks.equal(0)], 0
    for rows in read(None if whole_rows else keep):
        those = slice(start, start := start + rows.num_rows)
        ranks.append(rank(rows.filter(pa.array(rivals[those])), rules, whole_rows))
    return Ranks.together(ranks)


def _lowest_ids(ids: Numbers, numbers: Numbers) -> Numbers:
    """For each row the lowest id that has its number, whatever was decided about that one: which lead of a
    number is kept may change from day to day, and a person in the holdout must not."""
    return pd.Series(ids).groupby(numbers).transform("min").to_numpy()


def _in(numbers: Numbers, others: Numbers) -> Mask:
    """Which of the numbers are among the others. (By hash: `np.isin` sorts, which takes longer.)"""
    return pd.Series(numbers).isin(others).to_numpy()
