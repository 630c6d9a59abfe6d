"""Names of columns, or the first row of a file that has none. Light: a DAG file may import it."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: An address, a number, or a number with something beside it: "tel:+1...", "+1... ext 7". Digits that letters
#: or underscores part are a name: sales_2026_2027.
_IS_DATA = re.compile(r"@|^[+\d\s().-]*\d[+\d\s().-]{4,}$|(?:\d\W{0,3}){7}")

#: Parts of a name beside words; alone they are a cell.
_DATE_IN_NAME = re.compile(r"(?<=[^\W\d][ _-])(?:19|20)\d\d-\d\d-\d\d(?!\d)")


def are_data(names: Sequence[str]) -> bool:
    """Whether these are somebody's cells, who would be lost if they were taken for names."""
    return any(_IS_DATA.search(_DATE_IN_NAME.sub("", name)) for name in names)


def shown(names: Sequence[str]) -> str:
    """The names as an error may show them, which is never somebody's data."""
    return "what looks like data instead of names" if are_data(names) else ", ".join(names)
