"""The people of a source, as an extracted audience holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from airflow_sms_flow.core.cells import as_cells, as_ids, count_repeats
from airflow_sms_flow.core.column_map import chosen_columns
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.sources.source import Source


def read_people(source: Source, columns: Mapping[str, str] | None) -> Iterator[pa.RecordBatch]:
    """The mapped columns under our names, `id` first: ids int64, booleans boolean, everything else text.

    All pieces have the schema of the first, which may be empty. Raises `InvalidInput` for a column that is
    missing; and at the end, when all rows are counted, for ids that are no whole numbers or stand twice,
    until when nothing of the pieces may be used. Needs some 24 bytes of memory per row for that.
    """
    chosen = chosen_columns(columns, source.names)
    ours = ["id", *(name for name in chosen if name != "id")]
    batches = source.read(list(dict.fromkeys(chosen.values())))
    return _checked(batches, {name: chosen[name] for name in ours})


def _checked(batches: Iterator[pa.RecordBatch], chosen: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    ids: list[Any] = []
    wrong = rows = 0
    for batch in batches:
        found = as_ids(batch.column(chosen["id"]))
        rows, wrong = rows + len(found), wrong + found.null_count
        ids.append(found.drop_null().to_numpy())
        others = [as_cells(batch.column(theirs), theirs) for ours, theirs in chosen.items() if ours != "id"]
        yield pa.RecordBatch.from_arrays([found, *others], names=list(chosen))
    if wrong:
        remedy = f"{wrong:,} of {rows:,} rows hold no whole number there; each person needs one of their own"
        raise InvalidInput("id", chosen["id"], remedy)
    if repeats := count_repeats(ids):
        remedy = f"{repeats:,} of {rows:,} rows repeat the id of another; give one row per person"
        raise InvalidInput("id", chosen["id"], remedy)
