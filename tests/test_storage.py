"""Files are whole or not there, private, and checked before anything is sent to the numbers in them."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput, Unavailable
from airflow_sms_flow.storage import PREPARED_KEY, check_prepared, read_batches, write_parquet
from tests.broken_files import broken_parquets, failing_store

LEADS = pd.DataFrame({"id": [1, 2], "phone": ["+12025550132", "+12025550133"], "x": [None, "a"]})
PREPARED = {PREPARED_KEY: '{"keep": "lowest_id"}', storage.DISPLAY_NAMES_KEY: '{"First Name": "firstName"}'}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "dag" / "run" / "task" / "audience.parquet")


def test_what_was_written_in_pieces_is_read_in_pieces(path: str) -> None:
    """Rows, names, types and our own metadata survive; only the asked columns are read."""
    assert write_parquet(path, [LEADS, pa.RecordBatch.from_pandas(LEADS)], metadata={"sms_flow.x": "y"}) == 4
    assert [batch.num_rows for batch in read_batches(path, ["id"], batch_size=3)] == [3, 1]
    assert storage.row_count(path) == 4
    assert storage.read_metadata(path) == {"sms_flow.x": "y"}
    assert storage.read_schema(path).field("phone").type == pa.string()


def test_files_and_their_folders_are_for_the_owner_alone(path: str, tmp_path: Path) -> None:
    """0600 in 0700, every folder that was created on the way included."""
    write_parquet(path, [LEADS])
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in tmp_path.rglob("*") if folder.is_dir()} == {0o700}


def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(path: str) -> None:
    """Half a file never has the name, and no leftover lies beside it."""

    def broken() -> Iterator[pd.DataFrame]:
        yield LEADS
        raise OSError("disk full")

    write_parquet(path, [LEADS])
    with pytest.raises(OSError, match="disk full"):
        write_parquet(path, broken())
    assert os.listdir(os.path.dirname(path)) == ["audience.parquet"]
    assert storage.row_count(path) == 2


def test_an_empty_audience_is_a_file_with_columns(path: str) -> None:
    """The next task finds its columns and no rows."""
    assert (
        write_parquet(path, [], schema=pa.schema({"id": pa.int64(), "phone": pa.string()}), metadata=PREPARED)
        == 0
    )
    assert check_prepared(path).rows == 0
    with pytest.raises(ValueError, match="schema"):
        write_parquet(path, [])


def test_an_object_store_gets_the_file_whole() -> None:
    """Any store of ObjectStoragePath works alike; here one in memory stands in."""
    fsspec = pytest.importorskip("fsspec")
    io = pytest.importorskip("airflow.sdk.io")
    io.attach(protocol="memory", fs=fsspec.filesystem("memory"))
    path = "memory://bucket/dag/run/task/audience.parquet"
    assert write_parquet(path, [LEADS], metadata=PREPARED) == 2
    assert check_prepared(path).rows == 2
    assert storage.delete_older_than("memory://bucket", 1, now=datetime.now(UTC) + timedelta(days=2)) == 1
    with pytest.raises(InvalidInput, match="no such file"):
        storage.row_count(path)


def test_a_prepared_file_tells_its_rules_and_names(path: str) -> None:
    """What the next step needs to know before it sends."""
    write_parquet(path, [LEADS], metadata=PREPARED)
    info = check_prepared(path)
    assert (info.rows, info.columns, info.rules["keep"]) == (2, ("id", "phone", "x"), "lowest_id")
    assert info.display_names == {"First Name": "firstName"}


@pytest.mark.parametrize(
    ("change", "metadata", "match"),
    [
        ({}, {}, "was not prepared"),
        ({"phone": None}, PREPARED, "text in 'phone'"),
        ({"phone": ["+12025550132", None]}, PREPARED, "1 rows lack"),
        ({"phone": ["+12025550132", "2025550133"]}, PREPARED, "1 rows lack"),
        ({"phone": ["+12025550132", "+1202555013\n"]}, PREPARED, "1 rows lack"),
        ({"phone": ["+12025550132", "+99999999999999999999"]}, PREPARED, "1 rows lack"),
        ({"phone": ["+12025550132", "+12025550132"]}, PREPARED, "1 repeat"),
        ({"phone": [1, 2]}, PREPARED, "text in 'phone'"),
        ({"id": ["a", "b"]}, PREPARED, "whole numbers in 'id'"),
        ({"id": pd.array([1, None], dtype="Int64")}, PREPARED, "1 rows lack"),
    ],
)
def test_a_file_that_may_not_be_sent_to_is_refused(
    path: str, change: dict[str, Any], metadata: dict[str, str], match: str
) -> None:
    """Not prepared, a number twice, not in E.164: the error names the file and shows no number."""
    write_parquet(path, [LEADS.assign(**change)], metadata=metadata)
    with pytest.raises(InvalidInput, match=match) as caught:
        check_prepared(path)
    assert caught.value.field == "audience"
    assert "2025550" not in str(caught.value)


def test_missing_columns_missing_files_and_other_files_are_named(path: str, tmp_path: Path) -> None:
    """Field, path and remedy, before work begins."""
    write_parquet(path, [LEADS.drop(columns="phone")], metadata=PREPARED)
    with pytest.raises(InvalidInput, match="no column phone"):
        check_prepared(path)
    with pytest.raises(InvalidInput, match="no column firstName"):
        list(read_batches(path, ["id", "firstName"]))
    (tmp_path / "other.csv").write_text("id,phone")
    with pytest.raises(InvalidInput, match="not a Parquet file"):
        storage.row_count(str(tmp_path / "other.csv"))
    for gone in (tmp_path / "gone.parquet", tmp_path):
        with pytest.raises(InvalidInput, match="no such file"):
            storage.read_metadata(str(gone))


def test_a_bit_that_has_turned_is_noticed(tmp_path: Path) -> None:
    """A phone with another digit is somebody else's."""
    path = tmp_path / "audience.parquet"
    phones = [f"+1202555{n:04}" for n in range(2000)]
    storage.write_parquet(str(path), [pa.table({"id": range(2000), "phone": phones})])
    whole, column = path.read_bytes(), pq.ParquetFile(path).metadata.row_group(0).column(1)
    middle = column.data_page_offset + column.total_compressed_size // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    with pytest.raises(InvalidInput, match="a broken one"):
        list(storage.read_batches(str(path)))


@pytest.mark.parametrize("rules", [b"\xff", b"{"])
def test_a_broken_note_about_the_rules_is_named(tmp_path: Path, rules: bytes) -> None:
    """No error of Python's own, which Airflow would repeat."""
    table = pa.table({"id": [1], "phone": ["+12025550132"]})
    path = f"{tmp_path}/audience.parquet"
    pq.write_table(table.replace_schema_metadata({storage.PREPARED_KEY: rules}), path)
    with pytest.raises(InvalidInput, match="is broken"):
        storage.check_prepared(path)


@pytest.mark.parametrize("wrong", broken_parquets())
def test_an_audience_that_is_broken_is_refused(path: str, wrong: str) -> None:
    """Its footer or its rows; the task that wrote it can write it again, and no retry of this one."""
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(broken_parquets()[wrong])
    with pytest.raises(InvalidInput, match="not a Parquet file, or a broken one") as caught:
        list(read_batches(path))
    assert (caught.value.field, caught.value.value) == ("audience", path)


def test_a_store_that_fails_is_left_to_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection says nothing about the file."""
    monkeypatch.setattr(storage, "file_system", failing_store)
    with pytest.raises(Unavailable, match="EOFError"):
        storage.row_count("audience.parquet")


NAMES = st.text(min_size=1, max_size=250)


@given(st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_two_runs_never_share_a_folder(runs: list[str]) -> None:
    """Whatever a run is called: apart, below the root, and short enough for a file system."""
    folders = [storage.task_folder("/root", "dag", run, "task") for run in runs]
    assert len(set(folders)) == len(runs)
    for folder in folders:
        assert os.path.normpath(folder) == folder
        assert folder.count("/") == 4
        assert max(len(part) for part in folder.split("/")) < 250


def test_usual_names_stay_readable() -> None:
    """People look for their run's files."""
    folder = storage.task_folder(
        "s3://aws@bucket/sms/", "sms", "manual__2026-03-01T00:00:00+00:00", "g.extract", 3
    )
    assert folder == "s3://aws@bucket/sms/sms/manual__2026-03-01T00~3a00~3a00~2b00~3a00/g.extract/3"


def test_old_files_go_and_whatever_is_not_ours_stays(path: str, tmp_path: Path) -> None:
    """Only what is old, lies where tasks write, and is named as we name files."""
    write_parquet(path, [LEADS])
    other = [tmp_path / "audience.parquet", Path(path).with_name("notes.txt")]
    for file in other:
        file.write_text("mine")
    later = datetime.now(UTC) + timedelta(days=31)
    assert storage.delete_older_than(str(tmp_path), 30) == 0
    assert storage.delete_older_than(str(tmp_path), 30, now=later) == 1
    assert all(file.exists() for file in other)
    other[1].unlink()
    storage.delete_older_than(str(tmp_path), 30, now=later)
    assert [file.name for file in tmp_path.iterdir()] == ["audience.parquet"]
    assert storage.delete_older_than(str(tmp_path / "nowhere"), 30) == 0


def test_work_in_progress_is_private_and_goes_away(tmp_path: Path) -> None:
    """Raw exports lie in a folder of their own only as long as they are worked on."""
    with storage.private_folder(f"file://{tmp_path}/new") as folder:
        assert folder.parent == tmp_path / "new"
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_a_broken_download_leaves_is_found_again(tmp_path: Path) -> None:
    """Oldest first, and only where the next try can look: beside a local path."""

    def leave(path: str) -> Path:
        with pytest.raises(TimeoutError), storage.private_folder(path, keep_on=(TimeoutError,)) as folder:
            raise TimeoutError
        return folder

    left = [leave(str(tmp_path)), leave(f"file://{tmp_path}")]
    os.utime(left[0], (1, 1))
    assert storage.left_folders(str(tmp_path)) == left
    assert not leave("memory://bucket/key").exists()
    assert storage.left_folders("memory://bucket/key") == []


def test_any_other_error_leaves_nothing(tmp_path: Path) -> None:
    """It holds people."""
    with pytest.raises(OSError), storage.private_folder(str(tmp_path), keep_on=(TimeoutError,)):
        raise OSError
    assert list(tmp_path.iterdir()) == []


def test_small_pieces_are_put_together_into_row_groups(tmp_path: Path) -> None:
    """In their order; many small groups would make a large file that is slow to read."""
    path = f"{tmp_path}/a.parquet"
    write_parquet(path, (pa.table({"n": range(start, start + 1000)}) for start in range(0, 100_000, 1000)))
    assert pq.ParquetFile(path).num_row_groups == 2
    assert pq.read_table(path)["n"].to_pylist() == list(range(100_000))


def test_wide_rows_make_groups_of_fewer(tmp_path: Path) -> None:
    """Memory is bounded by bytes and not by rows alone."""
    path = f"{tmp_path}/a.parquet"
    write_parquet(path, (pa.table({"text": ["x" * 100_000] * 10}) for _ in range(10)))
    groups = pq.ParquetFile(path).metadata
    assert max(groups.row_group(n).num_rows for n in range(groups.num_row_groups)) < 50


def test_a_note_can_be_written_read_and_forgotten(tmp_path: Path) -> None:
    """Forgetting what is not there is fine."""
    note = f"{tmp_path}/a/note.json"
    storage.write_note(note, "here")
    assert storage.read_note(note) == "here"
    for _ in range(2):
        storage.delete_note(note)
        assert storage.read_note(note) is None
