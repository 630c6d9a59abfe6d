"""Which column of a source becomes which column of an audience. Light: a DAG file may import it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from airflow_sms_flow.core.column_names import are_data, shown
from airflow_sms_flow.core.errors import InvalidInput

_FORM = 'give {"id": "customer_id", "mobilePhone": "cell"}: our name, then the column of the source'


def read_columns(value: object) -> dict[str, str] | None:
    """A mapping from our names to those of a source, also as JSON. None, "" and "None": all of them, as
    they are called.

    Raises `InvalidInput` unless it is one and has an `id`.
    """
    if isinstance(value, str):
        if value.strip() in ("", "None"):
            return None
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidInput("columns", value, f"is no JSON; {_FORM}") from None
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(_is_name(name) for pair in value.items() for name in pair):
        raise InvalidInput("columns", value, _FORM)
    if "id" not in value:
        raise InvalidInput(
            "columns", dict(value), f"says nothing of id, a whole number of each person; {_FORM}"
        )
    return dict(value)


def chosen_columns(columns: Mapping[str, str] | None, names: Sequence[str]) -> dict[str, str]:
    """The mapping for a source that has these columns.

    Raises `InvalidInput` for a column that the source does not have, or has twice.
    """
    chosen = {name: name for name in names} if columns is None else dict(columns)
    twice = sorted({theirs for theirs in chosen.values() if list(names).count(theirs) > 1})
    if twice:
        remedy = "stands there more than once; give each column of the source a name of its own"
        raise InvalidInput("columns", shown(names if are_data(names) else twice), remedy)
    if "id" not in chosen:
        raise InvalidInput("columns", None, f"there is no column id, only {shown(names)}; {_FORM}")
    for theirs in chosen.values():
        if theirs not in names:
            known = [] if are_data(names) else names
            near = get_close_matches(theirs, known, n=3) or [
                name for name in known if name.casefold() == theirs.casefold()
            ]
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {shown(names)}"
            raise InvalidInput("columns", theirs, f"the source has no such column; {hint}")
    return chosen


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip())
