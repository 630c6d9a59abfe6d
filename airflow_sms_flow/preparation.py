"""Extracted files become one audience (or its shards), a file of everybody else, and a funnel.

The files are read two or three times in pieces, see `core.audience`: the memory that this takes grows by some
thirty bytes a lead, whatever else stands in the files.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from airflow_sms_flow.core.audience import (
    OWN_COLUMNS,
    Verdicts,
    judge,
    prepared_schema,
    renamed,
    renamed_display_names,
    split,
)
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import NumberLists
from airflow_sms_flow.core.leads import needed_columns
from airflow_sms_flow.core.phone_set import Numbers
from airflow_sms_flow.core.rules import AudienceRules, Funnel
from airflow_sms_flow.core.shards import shard_numbers
from airflow_sms_flow.progress import Meter
from airflow_sms_flow.row_groups import RowGroups
from airflow_sms_flow.storage import (
    DISPLAY_NAMES_KEY,
    FILES_KEY,
    PREPARED_KEY,
    RENAMED_KEY,
    display_names,
    parquet_writer,
    read_batches,
    read_metadata,
    read_schema,
    row_count,
)

log = logging.getLogger(__name__)

#: Few columns at a time, all of them at a time.
_NARROW_ROWS, _WIDE_ROWS = 524_288, 50_000


class WrittenFile(NamedTuple):
    """A file, and how many people are in it."""

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class PreparedFiles:
    """`audiences`: one file for each shard, in their order, empty ones included; without shards one."""

    audiences: tuple[WrittenFile, ...]
    rejected: WrittenFile
    funnel: Funnel


def prepare_files(
    paths: Sequence[str],
    rules: AudienceRules,
    lists: NumberLists,
    folder: str,
    *,
    shards: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> PreparedFiles:
    """Write `audience.parquet` (with shards `audience-00.parquet` and so on) and `rejected.parquet`.

    `paths`: extracted files. Several are one audience: a number in two of them is a duplicate, and so is a
    lead. A column that a file lacks is missing in its rows, but what `rules` names must be in each of them.
    Rows stay in the order of the files. `core.shards` tells the shard of a number. `metadata` goes into the
    written files beside our own.

    Raises what `core.audience.judge` raises, and `InvalidInput` for a file that was prepared before or does
    not fit the others. No file gets its name unless all could be written.
    """
    leads = _Leads.of(paths)
    for columns in leads.columns:
        needed_columns(columns, rules)
    prepared_schema(leads.schema)  # before hours of work
    verdicts = judge(leads.read, leads.schema.names, rules, lists)
    return write_files(leads, verdicts, rules, folder, shards, metadata or {})


class Leads(Protocol):
    """Where the leads are read from. `read`: see `core.audience.Read`."""

    @property
    def schema(self) -> pa.Schema: ...
    @property
    def display_names(self) -> Mapping[str, str]: ...
    def read(self, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True, slots=True)
class _Leads:
    """Several files, read one after the other as if they were one."""

    paths: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]  #: of each file
    schema: pa.Schema  #: of all of them together
    display_names: Mapping[str, str]
    rows: int

    @classmethod
    def of(cls, paths: Sequence[str]) -> _Leads:
        """Look at what the files say of themselves."""
        names: dict[str, str] = {}
        for path in paths:
            metadata = read_metadata(path)
            if PREPARED_KEY in metadata:
                raise InvalidInput("audience", path, "is prepared already; give the output of the extraction")
            names = display_names(metadata) | names
        schemas = [read_schema(path).remove_metadata() for path in paths]
        columns = tuple(tuple(schema.names) for schema in schemas)
        rows = sum(row_count(path) for path in paths)
        return cls(tuple(paths), columns, unified(paths, schemas), names, rows)

    def read(self, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """See `core.audience.Read`. Where a file lacks a column, it is missing in all of its rows."""
        doing = "Reading all columns" if names is None else "Reading"
        meter, done = Meter(doing, "leads", self.rows, log.info), 0
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        for path, columns in zip(self.paths, self.columns, strict=True):
            there = [name for name in schema.names if name in columns]
            for rows in read_batches(path, there, _WIDE_ROWS if names is None else _NARROW_ROWS):
                yield with_all(rows, schema)
                meter.reached(done := done + rows.num_rows)


def unified(paths: Sequence[str], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """All columns of the files. Raises `InvalidInput` for a file whose types do not fit the others'."""
    schema = schemas[0]
    for path, other in zip(paths[1:], schemas[1:], strict=True):
        for field in other:
            known = schema.field(field.name) if field.name in schema.names else None
            if known is None:
                schema = schema.append(field)
            elif pa.types.is_null(known.type):
                schema = schema.set(schema.get_field_index(field.name), field)
            elif {known.type, field.type} == {pa.bool_(), pa.string()}:
                # A query's column is text where its first rows are all missing.
                schema = schema.set(schema.get_field_index(field.name), pa.field(field.name, pa.string()))
            elif field.type not in (known.type, pa.null()):
                remedy = (
                    f"has {field.type} in {field.name!r}, and {paths[0]} {known.type}; extract both alike"
                )
                raise InvalidInput("audience", path, remedy)
    return schema


def with_all(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with the columns of the schema; those that they lack are missing in each of them."""
    have = set(rows.schema.names)
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in have
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write_files(
    leads: Leads,
    verdicts: Verdicts,
    rules: AudienceRules,
    folder: str,
    shards: int,
    metadata: Mapping[str, str],
) -> PreparedFiles:
    """Each lead into the file of its verdict."""
    shown = renamed_display_names(leads.display_names, leads.schema.names)
    moved = [name for name in OWN_COLUMNS if name in leads.schema.names]
    labels = {
        **metadata,
        DISPLAY_NAMES_KEY: json.dumps(shown, sort_keys=True),
        RENAMED_KEY: json.dumps({renamed(name, leads.schema.names): name for name in moved}),
    }
    names = ["audience"] if shards == 1 else [f"audience-{shard:02}" for shard in range(shards)]
    *audiences, rejected = [f"{folder}/{name}.parquet" for name in [*names, "rejected"]]
    schema = prepared_schema(leads.schema)
    with ExitStack() as files:
        # Only the audience says that it was prepared: nobody can send to the rejected by mistake.
        prepared = {**labels, PREPARED_KEY: rules.to_json(), FILES_KEY: str(shards)}
        outs = [files.enter_context(parquet_writer(path, schema, prepared)) for path in audiences]
        with_reason = schema.append(pa.field("reason", pa.string()))
        out = files.enter_context(parquet_writer(rejected, with_reason, labels))
        start = 0
        for rows in leads.read(None):
            part = verdicts.of(rows, start)
            kept, others = split(rows, part)
            out.write(others)
            _write_shards(outs, kept, part.numbers[part.codes == 0])
            start += rows.num_rows
    written = tuple(WrittenFile(path, one.rows) for path, one in zip(audiences, outs, strict=True))
    return PreparedFiles(written, WrittenFile(rejected, out.rows), verdicts.funnel)


def _write_shards(outs: Sequence[RowGroups], kept: pa.Table, numbers: Numbers) -> None:
    """Each number into the file of its shard."""
    if len(outs) == 1:
        outs[0].write(kept)
        return
    homes = shard_numbers(numbers, len(outs))
    order = np.argsort(homes, kind="stable")
    bounds = np.searchsorted(homes[order], range(len(outs) + 1)).tolist()
    kept = kept.take(order)
    for out, start, end in zip(outs, bounds[:-1], bounds[1:], strict=True):
        out.write(kept.slice(start, end - start))
