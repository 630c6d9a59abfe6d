"""Marketo's export file, read as typed batches (facts D.4, "File content").

Only the word `null` and an empty cell are missing: "N/A" and "none" are what somebody typed. Ids are
whole numbers, booleans are booleans, and everything else is text exactly as it came.
No error shows a cell: pyarrow's own do, so they end here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from airflow_sms_flow.clients.marketo_records import LeadField
from airflow_sms_flow.core.errors import InvalidInput, Unavailable

_BLOCK_BYTES = 8 * 1024 * 1024
_YES = pa.array(["true", "1", "yes"])
_NO = pa.array(["false", "0", "no"])


def export_schema(fields: Mapping[str, LeadField]) -> pa.Schema:
    """The columns of an export, in the order of `fields`."""
    return pa.schema([(name, _type_of(field)) for name, field in fields.items()])


def read_export(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a downloaded file, some megabytes at a time.

    Raises `Unavailable` for a file that is no CSV with these columns (another export may be whole), and
    `InvalidInput` for a boolean that is none: whether somebody is blocklisted is never guessed.
    """
    if path.stat().st_size == 0:
        return
    try:
        with _open(path, schema) as reader:
            missing = [name for name in schema.names if name not in reader.schema.names]
            if missing:
                raise Unavailable(f"Marketo's export lacks the columns {', '.join(missing)}")
            for batch in reader:
                yield pa.record_batch([_typed(batch, field) for field in schema], schema=schema)
    except pa.ArrowInvalid:
        raise Unavailable(
            "Marketo's export is no CSV file: a row has too many or too few cells, or is not in UTF-8. "
            "Leave out fields in which people paste long texts"
        ) from None


def _open(path: Path, schema: pa.Schema) -> csv.CSVStreamingReader:
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(schema) > 1),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in schema.names},
            null_values=["null", ""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _type_of(field: LeadField) -> pa.DataType:
    if field.rest_name == "id":
        return pa.int64()
    return pa.bool_() if field.data_type.casefold() == "boolean" else pa.string()


def _typed(batch: pa.RecordBatch, field: pa.Field[Any]) -> Any:
    cells: Any = batch.column(field.name)
    if pa.types.is_boolean(field.type):
        return _booleans(cells, field.name)
    return cells.cast(field.type)


def _booleans(cells: Any, name: str) -> Any:
    words: Any = pc.utf8_lower(pc.utf8_trim_whitespace(cells))
    yes: Any = pc.is_in(words, value_set=_YES)
    known: Any = pc.or_(yes, pc.is_in(words, value_set=_NO))
    blank: Any = pc.fill_null(pc.equal(words, pa.scalar("")), True)
    odd = len(cells) - int(pc.sum(pc.or_(known, blank)).as_py() or 0)
    if odd:
        remedy = (
            f"{odd} rows of a boolean field hold something other than true or false; mend them in Marketo"
        )
        raise InvalidInput("fields", name, remedy)
    return pc.if_else(blank, pa.scalar(None, pa.bool_()), yes)
