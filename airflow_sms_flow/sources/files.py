"""CSV and Parquet files, anywhere Airflow's ObjectStoragePath reaches, read in pieces.

In a CSV file a bare `null` and an empty cell are missing, and everything else is text as it stands there:
"N/A" and "none" are values. No error shows a cell: pyarrow's own do, so they end here.
"""

from __future__ import annotations

import csv
import io
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from lzma import LZMAError
from typing import Any, BinaryIO
from zipfile import BadZipFile

import pyarrow as pa
import pyarrow.compute as arrow_compute
import pyarrow.parquet as pq
from fsspec.compression import compr
from fsspec.core import get_compression
from pyarrow import csv as arrow_csv

from airflow_sms_flow.core.column_names import are_data
from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.core.file_kinds import is_tab_separated, without_query
from airflow_sms_flow.core.quoted_cells import QuotedCells
from airflow_sms_flow.sources.source import Source
from airflow_sms_flow.storage import file_system
from airflow_sms_flow.store_file import StoreFile

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute
#: What is parsed at once; a row of a CSV file may not be longer. Memory grows with it.
_BLOCK_BYTES = 1024 * 1024
_BATCH_ROWS = 50_000
#: What readers raise for a file that is broken. A store that fails raises none of these: see `StoreFile`.
_BROKEN = (
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
    OSError,
    EOFError,
    zlib.error,
    LZMAError,
    BadZipFile,
)
_NOT_PACKED = "cannot be unpacked: it is cut short, or not packed as its name says; write or fetch it again"
_NOT_PARQUET = "is not a Parquet file, or a broken one; name its format, or write it again"


@contextmanager
def open_file(path: str, kind: str, *, delimiter: str | None = None, field: str = "path") -> Iterator[Source]:
    """A CSV or Parquet file. `kind` is one of `file_kinds.KINDS`; `field` is the parameter that errors name.
    `delimiter` is a comma by itself, in a .tsv file a tab.

    Raises `InvalidInput` for a file that is not there, may not be read, or is none of that kind.
    """
    delimiter = delimiter or ("\t" if is_tab_separated(path) else ",")
    with open_bytes(path, field) as raw:
        yield _parquet(raw, path, field) if kind == "parquet" else _csv(raw, path, field, delimiter)


@contextmanager
def open_bytes(path: str, field: str) -> Iterator[BinaryIO]:
    """The content of a file, unpacked if its name ends in .gz."""
    try:
        files, inner = file_system(path)
        opened = files.open(inner, "rb")
    except (FileNotFoundError, IsADirectoryError):
        raise InvalidInput(field, without_query(path), "no such file; name one file, not a folder") from None
    except PermissionError:
        raise InvalidInput(
            field, without_query(path), "may not be read with this account or connection"
        ) from None
    except (ImportError, ValueError):  # neither a registered scheme nor a known one
        remedy = (
            f"files at {without_query(path)!r} cannot be reached: install the provider of that store "
            "(for s3:// apache-airflow-providers-amazon[s3fs]) wherever tasks run"
        )
        raise ConfigError(f"{field}: {remedy}") from None
    with opened:
        stored = io.BufferedReader(StoreFile(opened, path))
        with refusing_broken(path, field):
            unpacked = compr[get_compression(inner, "infer")](stored, mode="r")
        yield unpacked


@contextmanager
def refusing_broken(path: str, field: str, remedy: str = _NOT_PACKED) -> Iterator[None]:
    """`InvalidInput` for what a reader raises where a file is broken. Nothing but reading belongs there."""
    try:
        yield
    except _BROKEN:
        raise InvalidInput(field, without_query(path), remedy) from None


def _parquet(raw: BinaryIO, path: str, field: str) -> Source:
    with refusing_broken(path, field, _NOT_PARQUET):
        file = pq.ParquetFile(raw, page_checksum_verification=True)
    schema = file.schema_arrow.remove_metadata()

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield _no_rows(pa.schema([schema.field(name) for name in names]))
        with refusing_broken(path, field, _NOT_PARQUET):
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(names)):
                yield batch.select(list(names)).replace_schema_metadata(None)

    return Source(tuple(schema.names), read)


def _csv(raw: BinaryIO, path: str, field: str, delimiter: str) -> Source:
    header, names = _header(raw, path, field, delimiter)
    quoted = QuotedCells(delimiter)

    def refuse(line: int | None) -> None:
        if line is not None:
            remedy = (
                f"the cell that a quotation mark opens in line {line:,} is not closed by one, or goes on "
                "behind it; take the mark away, or quote the whole cell and double the marks inside of it"
            )
            raise InvalidInput(field, without_query(path), remedy)

    def read(wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([(name, pa.string()) for name in wanted])
        yield _no_rows(schema)
        is_csv = True
        refuse(quoted.wrong_in(header.removeprefix(BOM_UTF8)))
        joined: Any = _Joined(header, raw, lambda block: refuse(quoted.wrong_in(block)))
        try:
            with _open_csv(pa.PythonFile(joined, mode="r"), wanted, delimiter) as reader:
                for batch in reader:
                    yield pa.record_batch(
                        [_empty_is_missing(cells) for cells in batch.columns], schema=schema
                    )
        except (pa.ArrowInvalid, KeyError):  # whose texts show cells
            is_csv = False
        with refusing_broken(path, field):
            joined.check()
        if not is_csv:
            remedy = (
                "is no CSV file: a row has too many or too few cells, or more than 1 MB as where a quotation "
                "mark is never closed, or a text is not in UTF-8. The cells are expected to be separated by "
                f"{delimiter!r}"
            )
            raise InvalidInput(field, without_query(path), remedy)
        refuse(quoted.wrong_at_end())

    return Source(names, read)


def _open_csv(source: Any, wanted: Sequence[str], delimiter: str) -> arrow_csv.CSVStreamingReader:
    return arrow_csv.open_csv(
        source,
        read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            null_values=["null", ""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _header(raw: BinaryIO, path: str, field: str, delimiter: str) -> tuple[bytes, tuple[str, ...]]:
    """The first line as it stands, and the names in it. Where lines end with CR alone, more than one line."""
    with refusing_broken(path, field):
        line = raw.readline(_BLOCK_BYTES)
    try:
        first = next(iter(line.splitlines()), b"").decode("utf-8-sig")
        names = next(csv.reader([first], delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not any(name.strip() for name in names) or are_data(names):
        remedy = "does not begin with a line of column names in UTF-8; add one, or name the format"
        raise InvalidInput(field, without_query(path), remedy)
    return line, tuple(names)


class _Joined:
    """The header, which was read to know the names, and the rest of the file behind it, once more as one:
    a packed file or one at a web address cannot always be wound back. `look` sees what follows the header
    before pyarrow does."""

    closed = False

    def __init__(self, head: bytes, rest: BinaryIO, look: Callable[[bytes], None]) -> None:
        self._head, self._rest, self._look = head, rest, look
        self._error: Exception | None = None

    def read(self, size: int) -> bytes:
        """Called by pyarrow, which wants at most `size` bytes. An error ends the file and is for `check` to
        raise: here it would block one of pyarrow's eight threads for good."""
        if self._error is not None:
            return b""
        try:
            return self._next(size)
        except Exception as error:  # of any store; raised through pyarrow it would block its thread
            self._error = error
            return b""

    def _next(self, size: int) -> bytes:
        if not self._head:
            piece = self._rest.read(size)
            self._look(piece)
            return piece
        piece, self._head = self._head[:size], self._head[size:]
        return piece

    def check(self) -> None:
        """Raise the error of a `read`, if there was one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Called by pyarrow; the file itself belongs to whoever opened it."""
        self.closed = True


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _empty_is_missing(cells: Any) -> Any:
    """A cell written as "" is as empty as one without quotes, which is missing already."""
    empty: Any = pc.equal(cells, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), cells) if pc.any(empty).as_py() else cells
