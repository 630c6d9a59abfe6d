"""Marketo's CSV becomes typed rows; what is odd ends in an error that shows no cell."""

import csv
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow.clients import marketo_breaks, marketo_csv
from airflow_sms_flow.clients.marketo_csv import export_schema, read_export
from airflow_sms_flow.clients.marketo_records import LeadField, WrongFile
from airflow_sms_flow.core.errors import InvalidInput

FIELDS = {
    "id": LeadField("id", "Id", "integer"),
    "firstName": LeadField("firstName", "First Name", "string"),
    "blackListed": LeadField("blackListed", "Black Listed", "boolean"),
}
SCHEMA = export_schema(FIELDS)
HEADER = b"blackListed,id,firstName\n"


def read(path: Path, content: bytes) -> list[dict[str, object]]:
    path.write_bytes(content)
    return pa.Table.from_batches(read_export(path, SCHEMA), schema=SCHEMA).to_pylist()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leads.csv"


def test_columns_are_mapped_by_header_and_typed(path: Path) -> None:
    """Ids are whole numbers, booleans booleans, the rest text exactly as it came."""
    content = HEADER + b'true,1,"O""Brien, \nJr."\nFALSE,2, N/A \nnull,3,none\n,4,007\n'
    names = [row["firstName"] for row in read(path, content)]
    assert names == ['O"Brien, \nJr.', " N/A ", "none", "007"]
    assert [row["blackListed"] for row in read(path, content)] == [True, False, None, None]
    assert [row["id"] for row in read(path, content)] == [1, 2, 3, 4]


def test_null_and_empty_are_missing_in_every_column(path: Path) -> None:
    """The four bare letters that Marketo writes for nothing, and nothing itself, quoted or not."""
    rows = read(path, HEADER + b'null,1,null\n,2,\n"",3,""\n"null",4,\n')
    assert {row["firstName"] for row in rows} == {row["blackListed"] for row in rows} == {None}


def test_other_words_for_nothing_are_what_somebody_typed(path: Path) -> None:
    """A quoted `null` was quoted by somebody who meant it; pandas' other words are names and answers."""
    words = ["NULL", "Null", "N/A", "NaN", "none", "None", " null", "#N/A", "-", " "]
    content = HEADER + "".join(f"true,1,{word}\n" for word in words).encode() + b'true,1,"null"\n'
    assert [row["firstName"] for row in read(path, content)] == [*words, "null"]


def test_stray_returns_and_nuls_stay_in_their_cells(path: Path) -> None:
    """Both have come out of Marketo, unquoted: no row ends there, and no column shifts."""
    rows = read(
        path, HEADER + b'true,1,\rA\0d\ra\r\ntrue,2,"B\r\n\ro"\ntrue,3,\x1ar\x1a\ntrue,4,\xe2\x80\xa8\n'
    )
    assert [row["firstName"] for row in rows] == ["\rA\0d\ra\r", "B\r\n\ro", "\x1ar\x1a", "\u2028"]
    assert [one.name for one in path.parent.iterdir()] == [path.name], "and no copy is left"


def test_lines_may_end_in_crlf(path: Path) -> None:
    """As the header's does; a lone return is still part of a cell."""
    rows = read(path, HEADER.replace(b"\n", b"\r\n") + b'true,1,A\rda\r\r\nfalse,2,"B\r\no"\r\n')
    assert [row["firstName"] for row in rows] == ["A\rda\r", "B\r\no"]


@pytest.mark.parametrize("content", [b"", HEADER])
def test_nobody_on_the_list_is_no_error(path: Path, content: bytes) -> None:
    """Marketo does not say whether an empty export has a header."""
    assert read(path, content) == []


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"true,1,Ada,secret\n",
        HEADER + b"true,1,Ada\nsecret,2\n",
        HEADER + b"true,null,secret\n",
        b"blackListed,id,firstName,id\ntrue,1,secret,2\n",
        HEADER + b"true,secret,Ada\n",
        HEADER + b"true,1,secret\xff\n",
        b"id,firstName\n1,secret\n",
    ],
)
def test_a_file_that_is_not_whole_is_asked_for_again(path: Path, content: bytes) -> None:
    """Rows must not shift or get lost; the error shows no cell, not even in its chain."""
    with pytest.raises(WrongFile) as caught:
        read(path, content)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("word", ["true", "TRUE", " True ", "1", "yes"])
def test_a_yes_is_read_however_it_is_written(path: Path, word: str) -> None:
    """Beside its opposite and nothing, for a column is read as a whole."""
    rows = read(path, HEADER + f"{word},1,\nfalse,2,\nNo,3,\n0,4,\n,5,\n".encode())
    assert [row["blackListed"] for row in rows] == [True, False, False, False, None]


def test_a_boolean_that_is_none_is_never_a_no(path: Path) -> None:
    """The field and the count are named, the cell is not."""
    with pytest.raises(InvalidInput, match="1 rows") as caught:
        read(path, HEADER + b"secret,1,Ada\nyes,2,Bo\n")
    assert caught.value.value == "blackListed"
    assert "secret" not in str(caught.value)


PIECES = [
    "null",
    "NULL",
    "a",
    "r",
    "s",
    "é",
    "😀",
    " ",
    '"',
    ",",
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\x1a",
    "\x85",
    "x" * 90,
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@st.composite
def written_cells(draw: st.DrawFn) -> tuple[str, bool]:
    """A cell as it stands in a file, and whether it is missing."""
    text = draw(TEXTS)
    needs_quotes = "," in text or "\n" in text or text.startswith('"')
    if needs_quotes or draw(st.booleans()):
        doubled = text.replace('"', '""')
        return f'"{doubled}"', text == ""
    return text, text in ("", "null")


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(written_cells(), written_cells()), max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.integers(1, 300),
)
def test_every_cell_is_what_pythons_own_reader_finds(
    rows: list[tuple[tuple[str, bool], tuple[str, bool]]], ending: str, block_bytes: int
) -> None:
    """Quotes, breaks, NULs and letters of all sorts, wherever a block may end. Python's reader is shown the
    stray returns as another letter, since it refuses them."""
    lines = ["id,a,b", *(f"{n},{a[0]},{b[0]}" for n, (a, b) in enumerate(rows))]
    text = "".join(line + ending for line in lines)
    expected = [
        {"id": n, "a": None if a[1] else found[1], "b": None if b[1] else found[2]}
        for n, (found, (a, b)) in enumerate(zip(_by_python(text, ending), rows, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(marketo_csv, "_BLOCK_BYTES", block_bytes)
        patch.setattr(marketo_breaks, "_CHUNK_BYTES", block_bytes)
        path = Path(folder) / "leads.csv"
        path.write_bytes(text.encode())
        schema = pa.schema([("id", pa.int64()), ("a", pa.string()), ("b", pa.string())])
        assert pa.Table.from_batches(read_export(path, schema), schema=schema).to_pylist() == expected


def _by_python(text: str, ending: str) -> list[list[str]]:
    shown = re.sub("\r(?!\n)" if ending == "\r\n" else "\r", "\ue000", text)
    found = csv.reader(io.StringIO(shown, newline="\n"))
    return [[cell.replace("\ue000", "\r") for cell in row] for row in found][1:]


def test_a_row_wider_than_a_block_is_read_by_a_larger_one(path: Path) -> None:
    """Two hundred long texts make a row of megabytes; those before it come once."""
    wide = "w" * 700_000
    content = HEADER + b"true,1,Ada\n" * 50_000 + f"true,2,{wide}\n".encode() + b"true,3,Bo\n"
    names = [row["firstName"] for row in read(path, content)]
    assert names == ["Ada"] * 50_000 + [wide, "Bo"]


def test_it_needs_no_pandas() -> None:
    """Which pyarrow would import to make the smallest value of Python's: 40 MB in a task of 300."""
    program = """if True:
        import sys, pathlib, tempfile, pyarrow as pa
        from airflow_sms_flow.clients import marketo_csv
        from airflow_sms_flow.storage import write_parquet
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.csv"
            path.write_bytes(b'id,yes,text\\n1,true,a\\rb\\n2, FALSE ,""\\n')
            schema = pa.schema([("id", pa.int64()), ("yes", pa.bool_()), ("text", pa.string())])
            rows = write_parquet(f"{folder}/a.parquet", marketo_csv.read_export(path, schema), schema=schema)
        print(rows, "pandas" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "2 False\n"
