"""Filters as data: `("country", "in", ["US", "CA"])`. Light: a DAG file may import it.

They are read and compared, never run as code. What a column holds is checked in `filters`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite

from airflow_sms_flow.core.errors import InvalidInput

Scalar = bool | int | float | str

EQUALITY = ("=", "!=")
ORDER = ("<", "<=", ">", ">=")
MEMBERSHIP = ("in", "not in")
PRESENCE = ("is missing", "is not missing")
OPERATORS = (*EQUALITY, *ORDER, *MEMBERSHIP, "contains", *PRESENCE)

_FORM = (
    'give conditions such as [("country", "in", ["US", "CA"]), ("score", ">=", 50)], all of which must hold'
)
#: A text that `float` reads, too: to order such texts by their letters puts "9" above "50".
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column with a value.

    `value`: text, number or True/False; for "in" and "not in" a tuple of them, all of one kind; for
    "contains" a text; for "is missing" and "is not missing" None.
    Raises `InvalidInput` for what can never work. No error repeats a value: it might be somebody's.
    """

    column: str
    operator: str
    value: Scalar | tuple[Scalar, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column.strip():
            raise InvalidInput(
                "where", type(self.column).__name__, f"the column comes first, as text; {_FORM}"
            )
        if self.operator not in OPERATORS:
            near = get_close_matches(str(self.operator), OPERATORS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise self.wrong(f"{hint}the operators are {', '.join(OPERATORS)}")
        _CHECKS[self.operator](self)

    @property
    def values(self) -> tuple[Scalar, ...]:
        """What is compared with, always as a tuple."""
        if self.value is None:
            return ()
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def wrong(self, remedy: str) -> InvalidInput:
        """The error about this condition."""
        return InvalidInput("where", f"{self.column} {self.operator}", remedy)


def read_conditions(value: object) -> tuple[Condition, ...]:
    """Conditions from a DAG file or a form: triples as lists or tuples ("is missing" takes two), or the same
    as JSON. None, "" and "None" are no conditions."""
    if isinstance(value, str):
        if value.strip() in ("", "None"):
            return ()
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidInput("where", "text", f"is no JSON; {_FORM}") from None
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise InvalidInput("where", type(value).__name__, _FORM)
    if value and isinstance(value[0], str):
        raise InvalidInput("where", value[0], f"is one condition; put it into a list: {_FORM}")
    return tuple(one if isinstance(one, Condition) else _read(one) for one in value)


def kind_of(value: Scalar) -> str:
    """What a value is, in the words of the errors. True is no number here."""
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def _read(parts: object) -> Condition:
    if not isinstance(parts, list | tuple) or not 2 <= len(parts) <= 3:
        raise InvalidInput("where", type(parts).__name__, _FORM)
    column, operator, *rest = parts
    value = rest[0] if rest else None
    if isinstance(value, list | tuple | set | frozenset):
        value = tuple(value)
    return Condition(column, operator, value)


def _check_one(condition: Condition) -> None:
    if condition.value is None:
        raise condition.wrong('needs a value; to find empty cells write "is missing"')
    if isinstance(condition.value, tuple):
        raise condition.wrong('compares with one value; for several write "in" or "not in"')
    _check_scalars(condition, [condition.value])


def _check_order(condition: Condition) -> None:
    _check_one(condition)
    if isinstance(condition.value, bool):
        raise condition.wrong('true and false have no order; write "="')
    if isinstance(condition.value, str) and _NUMBER.fullmatch(condition.value):
        raise condition.wrong(
            "is given a number in quotes, and letters sort 9 above 50; leave out the quotes"
        )


def _check_several(condition: Condition) -> None:
    if not isinstance(condition.value, tuple) or not condition.value:
        raise condition.wrong("needs a list with at least one value")
    _check_scalars(condition, condition.value)
    if len({kind_of(one) for one in condition.value}) > 1:
        raise condition.wrong("has values of several kinds; give only texts, or only numbers")


def _check_text(condition: Condition) -> None:
    if not isinstance(condition.value, str) or not condition.value:
        raise condition.wrong("needs the text that cells should contain")


def _check_nothing(condition: Condition) -> None:
    if condition.value is not None:
        raise condition.wrong("takes no value")


def _check_scalars(condition: Condition, values: Iterable[object]) -> None:
    for one in values:
        if not isinstance(one, bool | int | float | str) or (isinstance(one, float) and not isfinite(one)):
            raise condition.wrong(f"compares with text, numbers or true and false, not {type(one).__name__}")
        if isinstance(one, str) and not one.strip():
            raise condition.wrong('is given an empty text, which no cell holds; write "is missing"')


_CHECKS = {
    **dict.fromkeys(EQUALITY, _check_one),
    **dict.fromkeys(ORDER, _check_order),
    **dict.fromkeys(MEMBERSHIP, _check_several),
    "contains": _check_text,
    **dict.fromkeys(PRESENCE, _check_nothing),
}
