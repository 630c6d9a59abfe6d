"""Rows on their way into a Parquet file, put together to pieces of a good size."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd  # 40 MB that a task without data frames can do without

Rows: TypeAlias = "pa.RecordBatch | pa.Table | pd.DataFrame"

_MOST_ROWS = 65_536
#: Small pieces are put together up to here, so that a group of wide rows does not fill the memory.
_MOST_BYTES = 3 * 1024 * 1024
_SAMPLE_ROWS = 4_096


class RowGroups:
    """The end of a file that is being written. Small pieces are put together, in their order: many small row
    groups make a large file and slow reading.

    Each group is compressed by a thread of its own, while the next rows are read and put together. What goes
    wrong there is raised by the next call.
    """

    def __init__(self, sink: IO[bytes], schema: pa.Schema) -> None:
        self.rows = 0
        self._sink, self._schema = sink, schema
        self._file: pq.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(1, "sms-flow-parquet")  # which begins with the first group
        self._writing: Future[None] | None = None
        self._held: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0

    def write(self, piece: Rows) -> None:
        """Add rows, which have at least the columns of the file."""
        chosen: Any = as_table(piece).select(self._schema.names)
        table = chosen.cast(self._schema)
        if self._held_rows + table.num_rows > _MOST_ROWS or self._held_bytes + table.nbytes > _MOST_BYTES:
            self.flush()
        self._held.append(table)
        self._held_rows, self._held_bytes = self._held_rows + table.num_rows, self._held_bytes + table.nbytes
        self.rows += table.num_rows

    def flush(self) -> None:
        """Have written what is held, once the group before it is."""
        if self._held:
            table = pa.concat_tables(self._held)
            self._wait()
            self._writing = self._thread.submit(_write, self._opened(table), table)
        self._held, self._held_rows, self._held_bytes = [], 0, 0

    def close(self) -> None:
        """Write the end of the file."""
        try:
            self._wait()
        finally:
            # Also where a time-out broke off a call of ours: a thread that writes to a closed file ends the
            # process, and with it all tidying up.
            self._thread.shutdown()
        nothing = pa.Table.from_batches([], self._schema)  # `empty_table` would import pandas
        self._opened(nothing).close()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _opened(self, first: pa.Table) -> pq.ParquetWriter:
        if self._file is None:
            options: Any = {"compression": "zstd", "use_dictionary": _repetitive(first)}
            options["write_page_checksum"] = True  # one bit that turns makes somebody else's number of one
            self._file = pq.ParquetWriter(self._sink, self._schema, **options)
        return self._file


def _write(file: pq.ParquetWriter, table: pa.Table) -> None:
    file.write_table(table, row_group_size=_MOST_ROWS)
    pa.default_memory_pool().release_unused()  # which else keeps some 30 MB for later


def _repetitive(table: pa.Table) -> list[str]:
    """The columns with words that come again and again. A dictionary of any others is work for nothing: a
    third of all the writing, and a fifth of the file."""
    some = table.slice(0, _SAMPLE_ROWS)
    return [
        name
        for name, cells in zip(some.schema.names, some.columns, strict=True)
        if not _is_plain(cells.type) or len(pc.unique(cells)) * 2 <= len(cells)
    ]


def _is_plain(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_integer(kind)


def as_table(piece: Rows) -> pa.Table:
    """The same rows without a copy, but for frames."""
    if isinstance(piece, pa.RecordBatch):
        return pa.Table.from_batches([piece])
    return piece if isinstance(piece, pa.Table) else pa.Table.from_pandas(piece, preserve_index=False)
