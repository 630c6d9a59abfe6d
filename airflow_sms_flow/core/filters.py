"""The rules that look at one row, as masks over as many rows as there are to hand.

Each takes a frame or a batch (or the numbers or ids of one) and gives a boolean array, row for row; none
needs to have seen the other rows. True means that the reason of that name holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.cells import as_flags
from airflow_sms_flow.core.conditions import ORDER, Condition, Scalar, kind_of
from airflow_sms_flow.core.errors import BugError, InvalidInput
from airflow_sms_flow.core.hashing import mixed
from airflow_sms_flow.core.phone_set import Numbers, PhoneSet
from airflow_sms_flow.core.rules import AudienceRules

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute

Mask = npt.NDArray[np.bool_]
Rows = pd.DataFrame | pa.RecordBatch | pa.Table

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_IS_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"


@dataclass(frozen=True, slots=True)
class NumberLists:
    """The numbers behind the rules `allow_list` and `deny_list`, None where the rule is not given."""

    allow: PhoneSet | None = None
    deny: PhoneSet | None = None

    def check(self, rules: AudienceRules) -> None:
        """Raise `BugError` where a rule names a list and nobody has read it: it must never count as empty."""
        for name, numbers, file in (
            ("allow_list", self.allow, rules.allow_list),
            ("deny_list", self.deny, rules.deny_list),
        ):
            if (numbers is None) != (file is None):
                raise BugError(f"the numbers of {name} were not read, or belong to no rule")


def filtered(rows: Rows, where: Iterable[Condition]) -> Mask:
    """Rows that fail at least one condition. Missing is null or blank text, and fails every comparison.

    Raises `InvalidInput` for a column that is not there, that holds another kind of value than the condition
    names, or, where a text column is ordered against a number, that holds something else than numbers.
    """
    failed: Mask = np.zeros(len(rows) if isinstance(rows, pd.DataFrame) else rows.num_rows, dtype=bool)
    for condition in where:
        failed |= ~_holds(_column(rows, condition), condition)
    return failed


def denied(numbers: Numbers, lists: NumberLists) -> Mask:
    """Of E.164 numbers (without their plus, 0 for none), those on the deny list."""
    return np.zeros(len(numbers), dtype=bool) if lists.deny is None else lists.deny.has_each_number(numbers)


def not_allowed(numbers: Numbers, lists: NumberLists) -> Mask:
    """Of such numbers, those that are missing from the allow list, if there is one."""
    return (
        np.zeros(len(numbers), dtype=bool) if lists.allow is None else ~lists.allow.has_each_number(numbers)
    )


def held_out(ids: npt.ArrayLike, share: float, name: str) -> Mask:
    """Of the leads with these ids, those that a hash puts into the holdout.

    The same leads for one name in every run, whoever else is in the audience; a larger share holds out
    further leads beside them; another name chooses independently.
    """
    numbers = np.asarray(ids, dtype=np.int64).view(np.uint64)
    salt = np.uint64(int.from_bytes(sha256(name.encode()).digest()[:8], "big"))
    chance: Mask = mixed(mixed(numbers) ^ salt) < np.uint64(min(int(share * 2**64), 2**64 - 1))
    return chance


def _holds(cells: Any, condition: Condition) -> Mask:
    present = pc.is_valid(cells)
    if condition.operator == "is missing":
        return _mask(pc.invert(present))
    if condition.operator == "is not missing":
        return _mask(present)
    if pa.types.is_null(cells.type):  # nothing is known of the column, for all of it is missing
        return np.zeros(len(cells), dtype=bool)
    try:
        return _mask(_compared(_comparable(cells, condition), present, condition))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):  # whose texts show cells
        raise condition.wrong("a number is too large to be compared; compare the column as text") from None


def _compared(cells: Any, present: Any, condition: Condition) -> Any:
    match condition.operator:
        case "contains":
            return pc.match_substring(cells, condition.value)
        case "in":
            return _is_one_of(cells, condition.values)
        case "not in":
            return pc.and_not(present, _is_one_of(cells, condition.values))
        case _:
            return _COMPARE[condition.operator](cells, condition.value)


def _is_one_of(cells: Any, values: tuple[Scalar, ...]) -> Any:
    if pa.types.is_string(cells.type):
        return pc.is_in(cells, value_set=pa.array(values, pa.string()))
    # One by one: a set would first have to be made of the column's own width and precision.
    return pc.fill_null(reduce(pc.or_, [pc.equal(cells, value) for value in values]), False)


def _comparable(cells: Any, condition: Condition) -> Any:
    """The cells, if they are of the kind of the condition's value."""
    wanted, held = kind_of(condition.values[0]), _kind_of_column(cells.type)
    if held == wanted:
        return cells
    if (held, wanted) == ("text", "a number") and condition.operator in ORDER:
        return _as_numbers(cells, condition)  # Marketo exports scores and the like as text
    if (held, wanted) == ("text", "true or false"):
        return _as_flags(cells, condition)  # in a file, or a query that begins with nulls
    if held == "text":
        raise condition.wrong(f"the column holds text and is compared with {wanted}; put the value in quotes")
    remedy = f"the column holds {held} and is compared with {wanted}; give the value without quotes"
    if wanted != "text":
        remedy = f"the column holds {held} and is compared with {wanted}; compare it with its own kind"
    raise condition.wrong(remedy)


def _kind_of_column(kind: Any) -> str:
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "a number"
    return "text" if pa.types.is_string(kind) else str(kind)


def _as_numbers(cells: Any, condition: Condition) -> Any:
    odd = int(pc.sum(pc.invert(pc.match_substring_regex(cells, _IS_NUMBER))).as_py() or 0)
    if odd:
        raise condition.wrong(
            f"{odd} rows hold a text that is no number; clean the column, or compare as text"
        )
    return pc.cast(pc.utf8_trim_whitespace(cells), pa.float64())


def _as_flags(cells: Any, condition: Condition) -> Any:
    flags, odd = as_flags(cells, condition.column)
    if odd:
        raise condition.wrong(f"{odd} rows hold a text that is neither true nor false; clean the column")
    return flags


def _column(rows: Rows, condition: Condition) -> Any:
    """One column as an Arrow array, in which blank text is missing."""
    names = list(rows.columns) if isinstance(rows, pd.DataFrame) else rows.schema.names
    if condition.column not in names:
        raise InvalidInput("where", condition.column, "no such column in the leads; extract it")
    cells: Any
    try:
        cells = (
            pa.Array.from_pandas(rows[condition.column])
            if isinstance(rows, pd.DataFrame)
            else rows.column(condition.column)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # whose texts show cells
        raise condition.wrong("the column holds values of several kinds; make it text") from None
    cells = _in_one_piece(cells)
    if pa.types.is_dictionary(cells.type) or pa.types.is_large_string(cells.type):
        cells = pc.cast(cells, pa.string())
    if not pa.types.is_string(cells.type):
        return cells
    blank = pc.equal(pc.utf8_trim_whitespace(cells), "")
    return pc.if_else(pc.fill_null(blank, True), pa.scalar(None, pa.string()), cells)


def _in_one_piece(cells: Any) -> Any:
    return cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells


def _mask(found: Any) -> Mask:
    """What is unknown does not hold."""
    mask: Mask = pc.fill_null(found, False).to_numpy(zero_copy_only=False).astype(bool)
    return mask
