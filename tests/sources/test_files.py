"""Files of any origin, read to the letter, and refused without showing what stands in them."""

import csv
import gzip
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import ConfigError, InvalidInput, Unavailable
from airflow_sms_flow.core.file_kinds import kind_of_file
from airflow_sms_flow.sources import files
from airflow_sms_flow.sources.files import open_file
from tests.broken_files import broken_gzips, broken_packages, broken_parquets, failing_store, named
from tests.first_rows import FIRST_ROWS


def rows(path: Path | str, columns: list[str] | None = None, **options: str) -> list[dict[str, object]]:
    kind = kind_of_file(str(path)) or "csv"
    with open_file(str(path), kind, **options) as source:
        pieces = list(source.read(columns or source.names))
    return pa.Table.from_batches(pieces).to_pylist()


def written(folder: Path, content: str | bytes, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_csv_file_is_text_to_the_letter(tmp_path: Path) -> None:
    """Leading zeros, pandas' words for missing, line breaks: only a bare null and nothing are missing."""
    path = written(tmp_path, 'id,a,b\n1,007,N/A\n2,none,"null"\n3,null,""\n4," x\ny ",\n')
    assert rows(path) == [
        {"id": "1", "a": "007", "b": "N/A"},
        {"id": "2", "a": "none", "b": "null"},
        {"id": "3", "a": None, "b": None},
        {"id": "4", "a": " x\ny ", "b": None},
    ]


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("people.tsv", "id\tx\r\n1\ta\r\n", None),
        ("people.csv", "\ufeffid;x\n1;a", ";"),
        ("people.csv.gz", gzip.compress(b"id,x\n1,a\n", mtime=0), None),
        ("people.csv", '"id","x"\n1,a\n', None),
        ("people.csv", '\ufeff"id","x"\n1,"a"', None),
        ("people.csv", "id,x\r1,a\r", None),
    ],
)
def test_other_shapes_of_csv_are_read(
    tmp_path: Path, name: str, content: str | bytes, delimiter: str | None
) -> None:
    """Tabs, semicolons, packed, with a byte order mark, quoted, with other systems' line ends."""
    path = written(tmp_path, content, name)
    with open_file(str(path), "csv", delimiter=delimiter) as source:
        assert source.names == ("id", "x")
        assert pa.Table.from_batches(source.read(["x"])).to_pylist() == [{"x": "a"}]


def test_a_file_comes_in_pieces(tmp_path: Path) -> None:
    """So that its size does not matter; nothing is lost between them."""
    lines = "".join(f"{number},{'x' * 40}\n" for number in range(100_000))
    with open_file(str(written(tmp_path, "id,x\n" + lines)), "csv") as source:
        pieces = list(source.read(["id"]))
    assert len(pieces) > 2
    assert [int(one.as_py()) for piece in pieces for one in piece.column(0)] == list(range(100_000))


def test_a_parquet_file_keeps_its_types(tmp_path: Path) -> None:
    """And gives the wanted columns in the wanted order, also where there are no rows."""
    path = tmp_path / "people.parquet"
    table = pa.table({"id": [1, 2], "vip": [True, None], "x": ["a", ""]})
    pq.write_table(table, path)
    assert rows(path, ["vip", "id"]) == [{"vip": True, "id": 1}, {"vip": None, "id": 2}]
    pq.write_table(table.slice(0, 0), path)
    with open_file(str(path), "parquet") as source:
        (first,) = source.read(["vip"])
    assert first.schema.field("vip").type == pa.bool_()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,x\n1,a,b\n", "too many or too few cells"),
        ("id,x\n1\n", "too many or too few cells"),
        (b"id,x\n1,\xff\n", "not in UTF-8"),
        ("", "column names"),
        ("+1 202 555 0132,Ann\n", "column names"),
        ("7,ann@example.com\n", "column names"),
        ("2025550132\n2025550133\n", "column names"),
    ],
)
def test_a_broken_file_is_refused_without_a_cell(tmp_path: Path, content: str | bytes, words: str) -> None:
    """A file without names would lose its first person as their header."""
    path = written(tmp_path, content)
    with pytest.raises(InvalidInput, match=words) as caught:
        rows(path)
    assert "555" not in str(caught.value)
    assert "ann" not in str(caught.value).lower()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("row", FIRST_ROWS)
def test_a_first_row_of_data_is_no_header_and_is_not_shown(tmp_path: Path, row: str) -> None:
    """The person in it would be missed by nobody, and would stand in the task's log."""
    with pytest.raises(InvalidInput, match="column names") as caught:
        rows(written(tmp_path, f"{row}\n{row}\n"))
    assert not any(part in str(caught.value) for part in ("555", "0132", "Bob", "bob"))


SWALLOWING = """id,mobilePhone,name,noTexts
1,+12025550132,"Big Al,false
2,+12025550133,Bob,true
3,+12025550134,"Cy,false
4,+12025550133,Bo,false
"""


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("people.csv", SWALLOWING, 2),
        ("people.tsv", SWALLOWING.replace(",", "\t"), 2),
        ("people.csv", SWALLOWING.replace("\n", "\r\n"), 2),
        ("people.csv", 'id,x\n1,a\n2,"b\n3,c\n', 3),
        ("people.csv", 'id,x\n1,"a" \n', 2),
        ("people.csv", 'id,x\n1,a\n2,"b"', None),
        ("people.csv", "id,x\n" + "1,a\n" * 300_000 + '2,"b"c\n', 300_002),
    ],
)
def test_no_stray_quotation_mark_swallows_a_row(
    tmp_path: Path, name: str, content: str, line: int | None
) -> None:
    """Two of them make one cell of all that stands between, and nobody would miss who is in it."""
    path = written(tmp_path, content, name)
    if line is None:
        assert len(rows(path)) == 2
        return
    with pytest.raises(InvalidInput, match=f"quotation mark opens in line {line:,} ") as caught:
        rows(path)
    assert "555" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_quotation_marks_in_their_place_are_letters_or_none(tmp_path: Path) -> None:
    """Doubled, around breaks and around nothing; and in the midst of a bare cell."""
    content = 'id,x\r\n1,"a\r\nb"\r\n2,""\r\n3,"a ""b"" c"\r\n4,Bob "Al" Smith\r\n5,""""'
    cells = ["a\r\nb", None, 'a "b" c', 'Bob "Al" Smith', '"']
    for name, delimiter in [("people.csv", ","), ("people.tsv", "\t")]:
        path = written(tmp_path, content.replace(",", delimiter), name)
        assert [row["x"] for row in rows(path)] == cells


TABLES = st.lists(
    st.tuples(*[st.text(st.sampled_from('a"",;\t\n\r é\0'), max_size=6)] * 3).map(list), max_size=8
)


@given(
    table=TABLES,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_what_python_writes_is_read_as_it_was(table: list[list[str]], quoting: int, delimiter: str) -> None:
    """Whatever is quoted; only an empty cell becomes a missing one."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, delimiter=delimiter)  # type: ignore[arg-type]  # an int will do
    writer.writerows([["id", "x", "y"], *table])
    with tempfile.TemporaryDirectory() as folder:
        found = rows(written(Path(folder), text.getvalue()), delimiter=delimiter)
    assert [[cell or "" for cell in row.values()] for row in found] == table


def test_nul_is_a_letter_and_cr_ends_a_row(tmp_path: Path) -> None:
    """As for Python's reader; a row that is cut so has too few cells, and is not filled up."""
    assert rows(written(tmp_path, "id,x\n1,a\0b\n")) == [{"id": "1", "x": "a\0b"}]
    assert len(rows(written(tmp_path, "id,x\n1,a\r2,b\n"))) == 2
    with pytest.raises(InvalidInput, match="too few cells"):
        rows(written(tmp_path, "id,x\n1,a\rb\n2,c\n"))


@pytest.mark.parametrize(
    ("name", "content"),
    named("people.csv.gz", broken_gzips("id,phone\n"))
    + named("people.csv.xz", broken_packages("id,phone\n"))
    + named("people.csv.zip", broken_packages("id,phone\n"))
    + named("people.parquet", broken_parquets()),
)
def test_a_file_that_is_broken_is_refused_and_not_read_again(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """No retry mends it; whoever writes it, does."""
    path = written(tmp_path, content, name)
    with pytest.raises(InvalidInput, match=r"cannot be unpacked|or a broken one") as caught:
        rows(path)
    assert (caught.value.field, caught.value.value) == ("path", str(path))


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "people.parquet"])
def test_a_store_that_fails_is_left_to_retries(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Although its errors are of the same kinds. Only their kind is told: their text may hold a signature."""
    monkeypatch.setattr(files, "file_system", failing_store)
    with pytest.raises(Unavailable, match=f"EOFError while {name} was read") as caught:
        rows(f"{name}?token=secret")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    """Not there, a folder, no Parquet, a store that nothing here knows; never what stands behind a "?"."""
    for path, kind in [(tmp_path / "nowhere.csv", "csv"), (tmp_path, "csv")]:
        with pytest.raises(InvalidInput, match="no such file"), open_file(str(path), kind):
            pass
    with (
        pytest.raises(InvalidInput, match="not a Parquet file"),
        open_file(str(written(tmp_path, "id\n1\n")), "parquet"),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="install the provider") as caught,
        open_file("nostore://bucket/people.csv?token=secret", "csv"),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_any_store_of_object_storage_path_will_do() -> None:
    """Here one in memory."""
    fsspec = pytest.importorskip("fsspec")
    io = pytest.importorskip("airflow.sdk.io")
    io.attach(protocol="memory", fs=fsspec.filesystem("memory"))
    fsspec.filesystem("memory").pipe("/bucket/people.csv", b"id,x\n1,a\n")
    assert rows("memory://bucket/people.csv") == [{"id": "1", "x": "a"}]
