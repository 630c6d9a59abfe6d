"""Queries: in pieces, typed alike in every database, and quiet about what stands in it."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest

from airflow_sms_flow.core.errors import InvalidInput, Unavailable
from airflow_sms_flow.sources.query import open_query


@dataclass
class Hook:
    """As much of a `DbApiHook` as is asked for: a connection."""

    connect: Any
    opened: list[Any] = field(default_factory=list)

    def get_conn(self) -> Any:
        """A new one."""
        self.opened.append(self.connect())
        return self.opened[-1]


@pytest.fixture
def sqlite(tmp_path: Path) -> Hook:
    return Hook(lambda: sqlite3.connect(tmp_path / "warehouse.db"))


@pytest.fixture
def server(postgres_address: str) -> Iterator[Hook]:
    address = postgres_address.replace("+psycopg", "")
    hook = Hook(lambda: psycopg.connect(address))
    yield hook
    assert all(connection.closed for connection in hook.opened)


def pieces(hook: Hook, sql: str, parameters: Any = None) -> list[pa.RecordBatch]:
    with open_query(hook, sql, parameters) as source:
        return list(source.read(source.names))


def column(hook: Hook, sql: str, parameters: Any = None) -> list[object]:
    return [one.as_py() for piece in pieces(hook, sql, parameters) for one in piece.column(0)]


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"


def test_rows_come_in_pieces_and_none_is_lost(sqlite: Hook) -> None:
    """Ten thousand at a time; always a first piece, so that the columns are known."""
    found = pieces(sqlite, NUMBERS.format(25_000) + " ;\n")
    assert [piece.num_rows for piece in found] == [10_000, 10_000, 5_000]
    assert column(sqlite, NUMBERS.format(20_000)) == [str(number) for number in range(1, 20_001)]
    (empty,) = pieces(sqlite, "SELECT 1 AS id, 'a' AS x WHERE 0")
    assert (empty.num_rows, empty.schema.names) == (0, ["id", "x"])


def test_placeholders_keep_values_out_of_the_text(sqlite: Hook) -> None:
    """As a list or a mapping, in the driver's own style."""
    assert column(sqlite, "SELECT ?", ["x'; --"]) == ["x'; --"]
    assert column(sqlite, "SELECT :x", {"x": "y"}) == ["y"]


@pytest.mark.parametrize(
    ("sql", "kind"), [("SELEC 1", "sql"), ("SELECT * FROM nowhere", "sql"), ("CREATE TABLE t (i)", "sql")]
)
def test_a_wrong_query_is_an_error_of_the_author(sqlite: Hook, sql: str, kind: str) -> None:
    """No retry would mend it; what the database says of the query is repeated."""
    with pytest.raises(InvalidInput) as caught:
        pieces(sqlite, sql)
    assert caught.value.field == kind
    assert caught.value.__cause__ is None


def test_another_failure_is_left_to_retries_and_tells_no_value() -> None:
    """A driver's text may quote a row, a password, an address."""

    class BrokenError(Exception):
        sqlstate = "22P02"

    def fail() -> None:
        raise BrokenError('invalid input syntax for type integer: "+12025550132"')

    with pytest.raises(Unavailable, match="BrokenError 22P02") as caught:
        pieces(Hook(fail), "SELECT 1")
    assert "555" not in str(caught.value)
    assert caught.value.__cause__ is None


class Cursor:
    """Rows of Python values, as some driver gives them."""

    description = (("x",),)

    def __init__(self, values: Sequence[object]) -> None:
        self.left = [(value,) for value in values]

    def cursor(self) -> "Cursor":
        return self

    def execute(self, sql: str) -> None:
        """Nothing to do."""

    def fetchmany(self, rows: int) -> list[tuple[object]]:
        taken, self.left = self.left[:rows], self.left[rows:]
        return taken

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (["a", "", None], ["a", "", None]),
        ([5, 2025550132.0, 1.5, float("nan")], ["5", "2025550132", "1.5", None]),
        ([Decimal("1E+3"), Decimal("NaN")], ["1000", None]),
        ([Decimal("1601234567.0"), Decimal("12.50")], ["1601234567", "12.50"]),
        ([date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)], ["2026-01-02", "2026-01-02T00:00:00+00:00"]),
        ([UUID(int=5)], ["00000000-0000-0000-0000-000000000005"]),
        ([True, None, False], [True, None, False]),
        ([None, "x", True], [None, "x", "true"]),
        ([None] * 10_000 + [True], [None] * 10_000 + ["true"]),
    ],
)
def test_a_column_is_boolean_or_text(values: list[object], cells: list[object]) -> None:
    """Boolean where the first piece says so, else text, whatever comes later."""
    assert column(Hook(lambda: Cursor(values)), "SELECT x") == cells


@pytest.mark.parametrize("values", [[b"x"], [["x"]], [True] * 10_000 + ["maybe"]])
def test_what_fits_no_column_is_refused_by_name(values: list[object]) -> None:
    """Column and type, no cell."""
    with pytest.raises(InvalidInput, match="columns='x'") as caught:
        column(Hook(lambda: Cursor(values)), "SELECT x")
    assert "maybe" not in str(caught.value)


def test_postgresql_keeps_the_rows_at_the_server(server: Hook) -> None:
    """A cursor with a name: a warehouse of millions is never in the worker's memory."""
    sql = "SELECT i AS id, i % 2 = 0 AS even, now() AS at FROM generate_series(1, 25000) i;"
    found = pieces(server, sql)
    assert [piece.num_rows for piece in found] == [10_000, 10_000, 5_000]
    assert [str(one.type) for one in found[0].schema] == ["string", "bool", "string"]
    with open_query(server, sql):
        (cursor,) = server.opened[-1].execute("SELECT name FROM pg_cursors").fetchall()
    assert cursor == ("sms_flow",)
    assert column(server, "SELECT %(x)s::text", {"x": "y"}) == ["y"]
    (empty,) = pieces(server, "SELECT 1 AS id WHERE false")
    assert empty.num_rows == 0


def test_postgresql_tells_the_authors_errors_from_others(server: Hook) -> None:
    """The former with its own words, the latter without a cell."""
    with pytest.raises(InvalidInput, match="nowhere"):
        pieces(server, "SELECT * FROM nowhere")
    with pytest.raises(Unavailable, match="22P02") as caught:
        pieces(server, "SELECT ('+1202555' || i)::uuid FROM generate_series(1, 3) i")
    assert "202" not in str(caught.value)
