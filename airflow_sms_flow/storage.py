"""Audience files: Parquet on a local folder or on any store that Airflow's ObjectStoragePath reaches.

Between tasks only a reference travels: the path, the number of rows, the funnel. Files are written whole
and then named, so that a killed task leaves no half file; on a local disk they are 0600 in 0700 folders.
A path is a plain one, `file://...`, or `s3://conn_id@bucket/key` and the like. No error shows a cell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.row_groups import RowGroups, Rows, as_table
from airflow_sms_flow.store_file import StoreFile

#: Parquet metadata of a prepared file: the rules that were used, as JSON.
PREPARED_KEY = "sms_flow.prepared"
#: Parquet metadata of a prepared file: how many audience files its preparation wrote.
FILES_KEY = "sms_flow.files"
#: Parquet metadata of a prepared file: {column: what it was called in the extracted file}, as JSON.
RENAMED_KEY = "sms_flow.renamed"
#: Parquet metadata of extracted and prepared files: {display name: column}, as JSON.
DISPLAY_NAMES_KEY = "sms_flow.display_names"

#: What `phonenumbers` writes, the longest numbers it holds valid included; nineteen digits fit a uint64.
_E164 = r"^\+[1-9][0-9]{4,18}$"
_OUR_FILES = (".parquet", ".csv", ".part", ".tmp", ".json")
#: Begins the names of folders for work in progress.
_WORK_PREFIX = ".sms_flow_"


@dataclass(frozen=True, slots=True)
class PreparedInfo:
    """A prepared file that passed `check_prepared`."""

    rows: int
    columns: tuple[str, ...]
    rules: Mapping[str, Any]
    display_names: Mapping[str, str]


def task_folder(root: str, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """The folder of one task of one run, `root/dag_id/run_id/task_id[/map_index]`.

    What could mean something to a file system is escaped, and two runs never share a folder.
    """
    parts = [_safe(part) for part in (dag_id, run_id, task_id)]
    if map_index >= 0:
        parts.append(str(map_index))
    return "/".join([root.rstrip("/"), *parts])


def cursor_note(root: str, *names: str) -> str:
    """Where a note lies that belongs to no run: `root/.cursors/…`, which is no DAG's folder."""
    return "/".join([root.rstrip("/"), ".cursors", *map(_safe, names)]) + ".txt"


def write_parquet(
    path: str,
    tables: Iterable[Rows],
    *,
    schema: pa.Schema | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write rows as they come, a row group in memory at a time, and give the file its name at the end.

    `schema` is that of the first piece where none is given; without both there is nothing to write and a
    ValueError. Returns the number of rows.
    """
    pieces = iter(tables)
    first = next(pieces, None)
    if schema is None:
        if first is None:
            raise ValueError("neither rows nor a schema to write")
        schema = _plain_schema(first)
    with parquet_writer(path, schema, metadata) as writer:
        for piece in chain([] if first is None else [first], pieces):
            writer.write(piece)
    return writer.rows


@contextmanager
def parquet_writer(
    path: str, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> Iterator[RowGroups]:
    """`write_parquet` for who writes several files at once. The file gets its name at the end, if all went
    well."""
    whole_schema = schema.with_metadata({**(metadata or {})})
    with _written_whole(path) as sink:
        writer = RowGroups(sink, whole_schema)
        try:
            yield writer
            writer.flush()
        finally:
            writer.close()


def write_note(path: str, text: str) -> None:
    """A short text beside the audience files, written whole."""
    with _written_whole(path) as sink:
        sink.write(text.encode())


def delete_note(path: str) -> None:
    """Forget a text that `write_note` wrote, if there is one."""
    files, inner = file_system(path)
    if files.exists(inner):
        files.rm_file(inner)


def read_note(path: str) -> str | None:
    """A text that `write_note` wrote, or None."""
    files, inner = file_system(path)
    return str(files.cat_file(inner).decode()) if files.exists(inner) else None


def read_batches(
    path: str, columns: Iterable[str] | None = None, batch_size: int = 50_000
) -> Iterator[pa.RecordBatch]:
    """The rows of a file in pieces, the named columns or all. Raises `InvalidInput` for a column it lacks."""
    with _opened(path) as file:
        names = None if columns is None else list(columns)
        if names is not None:
            _check_columns(path, file.schema_arrow, names)
        yield from file.iter_batches(batch_size=batch_size, columns=names)


def read_schema(path: str) -> pa.Schema:
    """The columns and types of a file."""
    with _opened(path) as file:
        return file.schema_arrow


def read_metadata(path: str) -> dict[str, str]:
    """The file's own metadata, `sms_flow.*` among it."""
    metadata = read_schema(path).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def row_count(path: str) -> int:
    """The number of rows, from the file's footer."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def display_names(metadata: Mapping[str, str]) -> dict[str, str]:
    """Marketo's display names and their columns, from a file's metadata."""
    return dict(json.loads(metadata.get(DISPLAY_NAMES_KEY, "{}")))


def check_prepared(path: str) -> PreparedInfo:
    """Refuse a file that may not be sent to, before anything is sent.

    Raises `InvalidInput` where the file was not written by `PrepareAudienceOperator`, lacks `id` or `phone`,
    or holds a number twice or not in E.164. Needs some 24 bytes of memory per row.
    """
    schema = read_schema(path)
    try:
        metadata = read_metadata(path)
        rules = json.loads(metadata.get(PREPARED_KEY, "null"))
    except ValueError:  # no UTF-8, or no JSON
        raise InvalidInput("audience", path, "is broken; run the task again that wrote it") from None
    if rules is None:
        raise InvalidInput("audience", path, "was not prepared; put PrepareAudienceOperator before this task")
    _check_columns(path, schema, ["id", "phone"])
    if not pa.types.is_integer(schema.field("id").type) or not pa.types.is_string(schema.field("phone").type):
        raise InvalidInput(
            "audience", path, "needs whole numbers in 'id' and text in 'phone'; prepare it again"
        )
    odd, pieces = 0, [np.empty(0, dtype=np.uint64)]
    for batch in read_batches(path, ["id", "phone"]):
        phones: Any = batch.column("phone")
        good: Any = pc.fill_null(pc.match_substring_regex(phones, _E164), False)
        phones = phones.filter(good)
        odd += batch.num_rows - len(phones) + batch.column("id").null_count
        pieces.append(pc.cast(pc.utf8_slice_codeunits(phones, 1), pa.uint64()).to_numpy())
    numbers = np.concatenate(pieces)
    twice = len(numbers) - len(np.unique(numbers))
    if odd or twice:
        remedy = (
            f"{odd} rows lack an id or a number in E.164, {twice} repeat a number; prepare the audience again"
        )
        raise InvalidInput("audience", path, remedy)
    return PreparedInfo(len(numbers), tuple(schema.names), rules, display_names(metadata))


def delete_older_than(root: str, days: float, *, now: datetime | None = None) -> int:
    """Delete our files under `root` that were written more than `days` days ago; returns how many.

    Touches only what lies where `task_folder` puts it and is named as we name files. Folders that are left
    empty go, too.
    """
    limit = (now or datetime.now(UTC)) - timedelta(days=days)
    files, base = file_system(root)
    if not files.exists(base):
        return 0
    deleted = 0
    for path in files.find(base):
        depth = len(path.removeprefix(base).strip("/").split("/"))
        if depth >= 4 and path.endswith(_OUR_FILES) and _aware(files.modified(path)) < limit:
            files.rm_file(path)
            deleted += 1
    if (local := local_path(root)) is not None:
        _remove_empty_folders(local, limit)
    return deleted


@contextmanager
def private_folder(path: str, *, keep_on: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """A local folder for work in progress, gone afterwards: beside a local `path`, else a temporary one.

    Beside a local path it is left standing on the errors of `keep_on`, as a killed process leaves it, too:
    `left_folders` finds it again.
    """
    local = local_path(path)
    if local is not None:
        _make_private(local)
    folder, kept = tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=local), False
    try:
        yield Path(folder)
    except keep_on:
        kept = local is not None
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def left_folders(path: str) -> list[Path]:
    """The private folders that earlier tries left at a local `path`, oldest first; none at another store."""
    local = local_path(path)
    if local is None:
        return []
    return sorted(local.glob(f"{_WORK_PREFIX}*"), key=lambda folder: folder.stat().st_mtime)


@contextmanager
def _written_whole(path: str) -> Iterator[IO[bytes]]:
    """A file that gets its name only when everything is in it."""
    local = local_path(path)
    if local is not None:
        _make_private(local.parent)
        part = local.with_name(f".{local.name}.{uuid4().hex}.tmp")
    else:
        descriptor, name = tempfile.mkstemp(prefix="sms_flow_", suffix=".tmp")
        os.close(descriptor)
        part = Path(name)
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        if local is not None:
            part.replace(local)
        else:
            files, target = file_system(path)
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            files.put_file(str(part), target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    files, inner = file_system(path)
    try:
        source = files.open(inner, "rb")
    except (FileNotFoundError, IsADirectoryError):
        raise InvalidInput("audience", path, "no such file; run the task again that wrote it") from None
    with source:
        stored: Any = StoreFile(source, path)
        try:
            yield pq.ParquetFile(stored, page_checksum_verification=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):  # of the reader, not of the store
            remedy = "is not a Parquet file, or a broken one; run the task again that wrote it"
            raise InvalidInput("audience", path, remedy) from None


def file_system(path: str) -> tuple[Any, str]:
    """The file system of a path, and the path in its own terms."""
    local = local_path(path)
    if local is not None:
        return fsspec.filesystem("file"), str(local.absolute())
    from airflow.sdk import ObjectStoragePath

    stored = ObjectStoragePath(path)
    return stored.fs, stored.path


def local_path(path: str) -> Path | None:
    """The path on this machine, or None for an address of another store."""
    if "://" not in path:
        return Path(path)
    scheme, _, rest = path.partition("://")
    return Path(rest) if scheme in ("file", "local") else None


def _make_private(folder: Path) -> None:
    """Create a folder and its missing parents, each 0700 (`mkdir(parents=True)` would open the parents)."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _remove_empty_folders(root: Path, limit: datetime) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if path == root or any(path.iterdir()):
            continue
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < limit:
            path.rmdir()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _safe(part: str) -> str:
    """Escape a name so that no two names become one: `~` and the UTF-8 bytes in hex for anything special."""
    escaped = re.sub(
        r"[^A-Za-z0-9._-]|^\.", lambda found: "".join(f"~{b:02x}" for b in found[0].encode()), part
    )
    if len(escaped) <= 180:
        return escaped or "~"
    return f"{escaped[:100]}~~{sha256(part.encode()).hexdigest()}"


def _plain_schema(piece: Rows) -> pa.Schema:
    """The columns of a piece; pandas' wide strings become plain ones."""
    fields = as_table(piece).schema
    return pa.schema(
        [one.with_type(pa.string()) if pa.types.is_large_string(one.type) else one for one in fields]
    )


def _check_columns(path: str, schema: pa.Schema, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in schema.names]
    if missing:
        remedy = (
            f"has no column {', '.join(missing)}, only {', '.join(schema.names)}; extract or prepare it again"
        )
        raise InvalidInput("audience", path, remedy)
