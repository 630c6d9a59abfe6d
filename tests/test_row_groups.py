"""How rows are put into a Parquet file."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from airflow_sms_flow.storage import parquet_writer, write_parquet


def encodings(path: str) -> dict[str, bool]:
    """Whether each column has a dictionary."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    return {column.path_in_schema: column.has_dictionary_page for column in columns}


def test_only_words_that_repeat_get_a_dictionary(tmp_path: Path) -> None:
    """One of phone numbers would be as large as the column, and takes a third of the time to write."""
    path, rows = f"{tmp_path}/a.parquet", 10_000
    columns: dict[str, Any] = {"id": list(range(rows)), "phone": [f"+1202555{n:04}" for n in range(rows)]}
    columns |= {"country": ["US", "CA"] * (rows // 2), "score": [0.5, None] * (rows // 2)}
    columns |= {"a.b": ["x"] * rows, "flag": [True] * rows}
    write_parquet(path, [pa.table(columns)])
    found = encodings(path)
    assert found.pop("flag") is False  # Parquet has none for booleans
    assert found == {"id": False, "phone": False, "country": True, "score": True, "a.b": True}
    assert pq.read_table(path).to_pydict() == columns


def test_a_time_out_waits_for_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow raises it wherever the main thread stands; to write to a closed file ends the process."""
    written: list[bool] = []

    def slowly(file: pq.ParquetWriter, table: pa.Table) -> None:
        time.sleep(0.6)
        written.append(file.is_open)
        file.write_table(table)

    monkeypatch.setattr("airflow_sms_flow.row_groups._write", slowly)
    rows = pa.table({"id": range(70_000)})
    with pytest.raises(AirflowTaskTimeout), timeout(seconds=0.2):
        write_parquet(f"{tmp_path}/a.parquet", [rows] * 3)
    assert written == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    """Whether nothing was written, or rows that were none."""
    schema = pa.schema([("id", pa.int64()), ("phone", pa.string())])
    for piece in ([], [schema.empty_table()]):
        path = f"{tmp_path}/{len(piece)}.parquet"
        with parquet_writer(path, schema, {"a": "b"}) as file:
            for rows in piece:
                file.write(rows)
        assert file.rows == pq.ParquetFile(path).metadata.num_rows == 0
        assert pq.read_schema(path).names == ["id", "phone"]
