"""Cells of any source as an extracted file holds them: whole ids, booleans, and text for everything else.

Text stays exactly as it came; an empty one is missing. No error shows a cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.errors import InvalidInput

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute
_WHOLE = r"^\s*[+-]?[0-9]{1,18}\s*$"
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"", "false", "0", "no"})
#: By the width in bits: up to here each whole number is a float of its own.
_EXACT_FLOATS = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}
_LARGEST = pa.scalar(2**63 - 1, pa.uint64())


def as_ids(cells: Any) -> Any:
    """Whole numbers as int64, missing where there is none or anything else: 12.5 or "12a", but not 12.0,
    which databases and pandas make of 12."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = pc.cast(cells, kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        good = pc.match_substring_regex(cells, _WHOLE)
        cells = pc.utf8_ltrim(pc.utf8_trim_whitespace(cells), "+")
    elif pa.types.is_floating(kind):
        good = pc.and_(pc.equal(pc.floor(cells), cells), pc.less_equal(pc.abs(cells), _exact(kind)))
    elif pa.types.is_decimal(kind):
        small = pc.less(pc.abs(cells), pa.scalar(10**18, pa.decimal128(19)))
        good = pc.and_(pc.equal(pc.floor(cells), cells), small)
    elif pa.types.is_integer(kind):
        good = pc.less_equal(cells, _LARGEST) if pa.types.is_uint64(kind) else pc.is_valid(cells)
    else:
        return pa.nulls(len(cells), pa.int64())
    return pc.cast(pc.if_else(good, cells, pa.scalar(None, kind)), pa.int64())


def as_cells(cells: Any, column: str) -> Any:
    """Booleans as they are, everything else as text."""
    return cells if pa.types.is_boolean(cells.type) else as_text(cells, column)


def as_text(cells: Any, column: str) -> Any:
    """Numbers without a needless ".0", moments as ISO 8601 (in UTC where they know their zone), true and
    false. Raises `InvalidInput` for a column of lists, bytes and the like, and for one of short floats with
    numbers that are too large for them: a phone in it has become another one."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = pc.cast(cells, kind.value_type), kind.value_type
    if pa.types.is_floating(kind):
        return _floats(cells, column)
    if pa.types.is_timestamp(kind):
        return _moments(cells)
    if not _is_plain(kind):
        remedy = f"holds {kind}, which is no text; leave the column out, or make it text where it comes from"
        raise InvalidInput("columns", column, remedy)
    texts = pc.cast(cells, pa.string())
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(texts, r"\.0+$", "")
    empty = pc.fill_null(pc.equal(texts, ""), False)
    return pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts


def as_flags(cells: Any, column: str) -> tuple[Any, int]:
    """Booleans, read strictly: true, 1, yes and false, 0, no, in any case, blank text for no; missing where
    nothing stands, or anything else. And how many of these others there are."""
    if pa.types.is_boolean(cells.type):
        return cells, 0
    told = pc.dictionary_encode(as_text(cells, column))
    words = [word.strip().casefold() for word in told.dictionary.to_pylist()]
    odd = np.array([*(word not in _YES | _NO for word in words), False])
    places = pc.fill_null(told.indices, len(words))
    meanings = [word in _YES if word in _YES | _NO else None for word in words]
    return pa.array([*meanings, None], pa.bool_()).take(places), int(odd[places.to_numpy()].sum())


def count_repeats(ids: list[Any]) -> int:
    """How many of the ids (arrays of int64) stand somewhere else, too, beyond their first place."""
    numbers = np.concatenate([np.empty(0, dtype=np.int64), *ids])
    return len(numbers) - len(np.unique(numbers))


def _exact(kind: Any) -> float:
    return _EXACT_FLOATS[kind.bit_width]


def _floats(cells: Any, column: str) -> Any:
    kind, cells = cells.type, pc.cast(cells, pa.float64())
    cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, pa.float64()), cells)
    too_large = pc.and_(pc.is_finite(cells), pc.greater(pc.abs(cells), _exact(kind)))
    if kind.bit_width < 64 and pc.any(too_large).as_py():
        remedy = f"holds numbers too large for {kind}: digits are lost; write it as text, or as double"
        raise InvalidInput("columns", column, remedy)
    whole = pc.and_(pc.equal(pc.floor(cells), cells), pc.less(pc.abs(cells), _exact(pa.float64())))
    whole = pc.fill_null(whole, False)
    digits = pc.cast(pc.if_else(whole, cells, 0.0), pa.int64())
    return pc.if_else(whole, pc.cast(digits, pa.string()), pc.cast(cells, pa.string()))


def _moments(cells: Any) -> Any:
    zone: str | None = cells.type.tz
    plain = pc.cast(pc.cast(cells, pa.timestamp("us", zone), safe=False), pa.timestamp("us"))  # in UTC
    return pc.strftime(plain, format="%Y-%m-%dT%H:%M:%S" + ("Z" if zone else ""))


def _is_plain(kind: Any) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)
