"""Marketo's CSV becomes typed rows; what is odd ends in an error that shows no cell."""

from pathlib import Path

import pyarrow as pa
import pytest

from airflow_sms_flow.clients.marketo_csv import export_schema, read_export
from airflow_sms_flow.clients.marketo_records import LeadField
from airflow_sms_flow.core.errors import InvalidInput, Unavailable

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
    """The four letters that Marketo writes for nothing, and nothing itself, quoted or not."""
    rows = read(path, HEADER + b'null,1,null\n,2,\n"",3,""\n')
    assert {row["firstName"] for row in rows} == {row["blackListed"] for row in rows} == {None}


@pytest.mark.parametrize("content", [b"", HEADER])
def test_nobody_on_the_list_is_no_error(path: Path, content: bytes) -> None:
    """Marketo does not say whether an empty export has a header."""
    assert read(path, content) == []


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"true,1,Ada,secret\n",
        HEADER + b"true,1,se\rcret\n",
        HEADER + b"true,secret,Ada\n",
        HEADER + b"true,1,secret\xff\n",
        b"id,firstName\n1,secret\n",
    ],
)
def test_a_file_that_is_not_whole_is_asked_for_again(path: Path, content: bytes) -> None:
    """Rows must not shift or get lost; the error shows no cell, not even in its chain."""
    with pytest.raises(Unavailable) as caught:
        read(path, content)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_boolean_that_is_none_is_never_a_no(path: Path) -> None:
    """The field and the count are named, the cell is not."""
    with pytest.raises(InvalidInput, match="1 rows") as caught:
        read(path, HEADER + b"secret,1,Ada\nyes,2,Bo\n")
    assert caught.value.value == "blackListed"
    assert "secret" not in str(caught.value)
