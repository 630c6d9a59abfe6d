"""Marketo's export file, read as typed batches (facts D.4, "File content").

Only the bare word `null` and an empty cell are missing: "N/A" and "none" are what somebody typed. Ids are
whole numbers, booleans are booleans, and everything else is text exactly as it came, stray carriage returns
and NULs within it included.
No error shows a cell: pyarrow's own do, so they end here.
Nothing here makes Arrow values of Python's: that alone would import pandas, 40 MB in a task of 300.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from airflow_sms_flow.clients.marketo_breaks import restored, without_stray_returns
from airflow_sms_flow.clients.marketo_records import LeadField, WrongFile
from airflow_sms_flow.core.errors import InvalidInput

#: What is parsed at once. Memory grows with it by some thirty times; speed hardly does (performance 6).
_BLOCK_BYTES = 256 * 1024
#: For a file in which a row is longer than that: Marketo's long texts may come by the hundred.
_LARGEST_BLOCK_BYTES = 32 * 1024 * 1024
#: Booleans as people's integrations write them; a quoted `null` may be one, too.
_YES, _NO, _BLANK = r"^\s*(true|1|yes)\s*$", r"^\s*(false|0|no)\s*$", r"^\s*(null)?\s*$"


def export_schema(fields: Mapping[str, LeadField]) -> pa.Schema:
    """The columns of an export, in the order of `fields`."""
    return pa.schema([(name, _type_of(field)) for name, field in fields.items()])


def read_export(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a downloaded file, a quarter of a megabyte at a time.

    Raises `WrongFile` for a file that is no CSV with these columns (another export may be whole), and
    `InvalidInput` for a boolean that is none: whether somebody is blocklisted is never guessed.
    The file's own count of rows is for the caller to check: a stray quote may swallow some.
    """
    if path.stat().st_size == 0:
        return
    done = 0
    with without_stray_returns(path) as (readable, respelt):
        for block_bytes in (_BLOCK_BYTES, _LARGEST_BLOCK_BYTES):
            try:
                for batch in _text_batches(readable, schema, block_bytes, skip=done):
                    cells = batch.columns if not respelt else [restored(column) for column in batch.columns]
                    typed = [_typed(*one) for one in zip(cells, schema, strict=True)]
                    yield pa.record_batch(typed, schema=schema)
                    done += batch.num_rows
                return
            except pa.ArrowInvalid:  # perhaps a row is longer than a block: read the rest by larger ones
                continue
    raise WrongFile(
        "Marketo's export is no CSV file: a row has too many or too few cells, an id is no number, or a text "
        "is not in UTF-8. Leave out fields in which people paste long texts"
    )


def _text_batches(path: Path, schema: pa.Schema, block_bytes: int, skip: int) -> Iterator[pa.RecordBatch]:
    """The rows after the first `skip`, as text. Raises `ArrowInvalid` for what is no CSV."""
    with _open(path, schema, block_bytes) as reader:
        wrong = [name for name in schema.names if reader.schema.names.count(name) != 1]
        if wrong:
            raise WrongFile(f"Marketo's export has not exactly one column {', '.join(wrong)}")
        for batch in reader:
            rest = batch.select(schema.names).slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - rest.num_rows
            if rest.num_rows:
                yield rest


def _open(path: Path, schema: pa.Schema, block_bytes: int) -> csv.CSVStreamingReader:
    return csv.open_csv(
        path,  # and no file object of Python's: pyarrow's threads would need the interpreter, also at its end
        # One thread: a second one holds more blocks at once, and writing Parquet takes longer than reading.
        read_options=csv.ReadOptions(block_size=block_bytes, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(schema) > 1),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in schema.names},
            null_values=["null", ""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _type_of(field: LeadField) -> pa.DataType:
    if field.rest_name == "id":
        return pa.int64()
    return pa.bool_() if field.data_type.casefold() == "boolean" else pa.string()


def _typed(cells: Any, field: pa.Field[Any]) -> Any:
    if pa.types.is_boolean(field.type):
        return _booleans(cells, field.name)
    if pa.types.is_integer(field.type):
        return _ids(cells)
    written: Any = pc.binary_length(cells).cast(pa.bool_())
    if pc.all(written).as_py():
        return cells
    # Quoted and empty: a bare empty cell is missing already.
    return pc.if_else(written, cells, pa.nulls(len(cells), pa.string()))


def _ids(cells: Any) -> Any:
    if cells.null_count:
        raise pa.ArrowInvalid("a lead without an id")
    return cells.cast(pa.int64())


def _booleans(cells: Any, name: str) -> Any:
    try:
        return cells.cast(pa.bool_())
    except pa.ArrowInvalid:
        yes, no, blank = (_matches(cells, words) for words in (_YES, _NO, _BLANK))
    known: Any = pc.or_(pc.or_(yes, no), blank)
    odd = int(pc.sum(pc.invert(known)).as_py() or 0)
    if odd:
        remedy = (
            f"{odd} rows of a boolean field hold something other than true or false; mend them in Marketo"
        )
        raise InvalidInput("fields", name, remedy)
    return pc.if_else(blank, pa.nulls(len(cells), pa.bool_()), yes)


def _matches(cells: Any, words: str) -> Any:
    return pc.match_substring_regex(cells, words, ignore_case=True)
