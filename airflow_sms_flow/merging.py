"""Audiences that were prepared side by side become one, as if they had been prepared together.

Their files tell everybody's number, so that the slow part is not done again; everything else is decided anew
by the same code: a number in two pieces is texted once, and whoever is suppressed in one piece is suppressed
in all. Takes some thirty bytes of memory a lead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from airflow_sms_flow.core.audience import OWN_COLUMNS, weigh
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import NumberLists
from airflow_sms_flow.core.leads import Look, flagged, needed_columns
from airflow_sms_flow.core.phone_set import Numbers
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.core.second_look import look_again
from airflow_sms_flow.preparation import PreparedFiles, unified, with_all, write_files
from airflow_sms_flow.storage import (
    FILES_KEY,
    PREPARED_KEY,
    RENAMED_KEY,
    display_names,
    read_batches,
    read_metadata,
    read_schema,
)

_ROWS = 50_000


def common_rules(audiences: Sequence[str]) -> AudienceRules:
    """The rules that all these prepared files were made by. Raises `InvalidInput` where they differ."""
    first, *others = (read_metadata(path).get(PREPARED_KEY) for path in audiences)
    for path, rules in zip(audiences, (first, *others), strict=True):
        if rules is None:
            raise InvalidInput(
                "audiences", path, "was not prepared; give the outputs of PrepareAudienceOperator"
            )
        if rules != first:
            remedy = f"was prepared by other rules than {audiences[0]}; prepare all pieces alike"
            raise InvalidInput("audiences", path, remedy)
    return AudienceRules.from_json(str(first))


def merge_files(
    audiences: Sequence[str],
    rules: AudienceRules,
    lists: NumberLists,
    folder: str,
    *,
    shards: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> PreparedFiles:
    """Write what `preparation.prepare_files` would have written of the extractions behind these files.

    `audiences`: all files of each preparation, whose `rejected.parquet` lies beside them. Raises
    `InvalidInput` for a file that is missing, and what a preparation raises.
    """
    pieces = _Pieces.of(audiences)
    verdicts = weigh(pieces.read, pieces.look(rules), rules, lists)
    return write_files(pieces, verdicts, rules, folder, shards, metadata or {})


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Prepared files, read one after the other as the leads that they were made of."""

    audiences: tuple[str, ...]
    rejected: tuple[str, ...]
    schema: pa.Schema  #: of the leads
    display_names: Mapping[str, str]

    @classmethod
    def of(cls, audiences: Sequence[str]) -> _Pieces:
        folders = Counter(path.rpartition("/")[0] for path in audiences)
        names: dict[str, str] = {}
        for path in audiences:
            metadata = read_metadata(path)
            folder = path.rpartition("/")[0]
            if metadata.get(FILES_KEY) != str(folders[folder]):
                remedy = (
                    f"is one of {metadata.get(FILES_KEY, 'several')} files of a preparation; give all of them"
                )
                raise InvalidInput("audiences", path, remedy)
            names = display_names(metadata) | names
        rejected = tuple(f"{folder}/rejected.parquet" for folder in folders)
        everything = [*audiences, *rejected]
        schema = unified(everything, [_extracted_schema(path) for path in everything])
        back = {column: name for path in audiences for column, name in _renamed(path).items()}
        shown = {name: back.get(column, column) for name, column in names.items()}
        return cls(tuple(audiences), rejected, schema, shown)

    def read(self, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """See `core.audience.Read`."""
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        for path in (*self.audiences, *self.rejected):
            for rows in _read(path, schema.names):
                yield with_all(rows.leads, schema)

    def suppressed_ids(self, rules: AudienceRules) -> Numbers:
        """Of all leads of whom a suppress column says yes: they are among the rejected."""
        found = [np.zeros(0, dtype=np.int64)]
        for path in self.rejected:
            for rows in _read(path, ["id", *rules.suppress]):
                ids: Numbers = rows.leads.column("id").cast(pa.int64()).to_numpy(zero_copy_only=False)
                found.append(ids[flagged(rows.leads, rules)])
        return np.unique(np.concatenate(found))

    def look(self, rules: AudienceRules) -> Look:
        """At all leads, in the order of `read`."""
        suppressed = self.suppressed_ids(rules)
        schema = pa.schema([self.schema.field(name) for name in needed_columns(self.schema.names, rules)])
        looks = []
        for path in (*self.audiences, *self.rejected):
            for rows in _read(path, schema.names):
                leads = with_all(rows.leads, schema)
                looks.append(look_again(leads, rows.phones, rows.reasons, suppressed, rules))
        return Look.together(looks, rules)


class _Rows(NamedTuple):
    """Leads as they were extracted, and what the preparation wrote of them."""

    leads: pa.RecordBatch
    phones: pa.Array[Any]
    reasons: pa.Array[Any]


def _read(path: str, names: Sequence[str]) -> Iterator[_Rows]:
    """Of a prepared file those of the named columns that it has."""
    schema = read_schema(path)
    stored = {name: column for column, name in _extracted_names(path, schema).items() if name in names}
    own = [name for name in OWN_COLUMNS if name in schema.names]
    for rows in read_batches(path, [*stored.values(), *own], _ROWS):
        leads = pa.RecordBatch.from_arrays([rows.column(column) for column in stored.values()], list(stored))
        reasons = rows.column("reason") if "reason" in own else pa.nulls(rows.num_rows, pa.string())
        yield _Rows(leads, rows.column("phone"), reasons)


def _extracted_names(path: str, schema: pa.Schema) -> dict[str, str]:
    """The columns of a prepared file that came with the extraction, and what they were called there."""
    back = _renamed(path)
    return {column: back.get(column, column) for column in schema.names if column not in OWN_COLUMNS}


def _renamed(path: str) -> dict[str, str]:
    return dict(json.loads(read_metadata(path).get(RENAMED_KEY, "{}")))


def _extracted_schema(path: str) -> pa.Schema:
    schema = read_schema(path)
    return pa.schema(
        [schema.field(column).with_name(name) for column, name in _extracted_names(path, schema).items()]
    )
