"""The rows of one SQL query, in pieces: never the whole result in memory, never a value in an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any
from uuid import UUID

import pyarrow as pa

from airflow_sms_flow.core.errors import InvalidInput, SmsFlowError, Unavailable
from airflow_sms_flow.sources.source import Source

_ROWS_AT_ONCE = 10_000
_SQLITE_ERROR = 1  # "SQL error or missing database", which is all that it says of a wrong query

Parameters = Sequence[object] | Mapping[str, object] | None


@contextmanager
def open_query(hook: Any, sql: str, parameters: Parameters = None) -> Iterator[Source]:
    """The answer to one SELECT. `hook` is a `DbApiHook`, `parameters` are in the style of its driver.

    Nothing is committed. Raises `InvalidInput` for what the database does not understand, and `Unavailable`
    for any other failure; of the database's own text only what cannot hold a value is repeated.
    """
    with _translated():
        connection = hook.get_conn()
    with closing(connection):
        with _translated():
            cursor = _cursor(connection)
        with closing(cursor):
            with _translated():
                arguments = [sql.strip().rstrip(";")] + ([] if parameters is None else [parameters])
                cursor.execute(*arguments)
                # Before the first rows are there, some cursors do not know their columns.
                first = cursor.fetchmany(_ROWS_AT_ONCE) if cursor.description or _is_named(cursor) else None
            if first is None or cursor.description is None:
                raise InvalidInput("sql", type(hook).__name__, "gives no rows; write one SELECT")
            names = tuple(str(column[0]) for column in cursor.description)
            yield Source(names, lambda wanted: _batches(cursor, first, names, wanted))


def _cursor(connection: Any) -> Any:
    """One that leaves the rows with the server until they are asked for, where drivers do not so unasked."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg", "psycopg2"):
        return connection.cursor(name="sms_flow")
    if driver in ("MySQLdb", "pymysql"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _is_named(cursor: Any) -> bool:
    return bool(getattr(cursor, "name", None))


def _batches(
    cursor: Any, first: Sequence[Sequence[object]], names: Sequence[str], wanted: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    places = [list(names).index(name) for name in wanted]
    # A column is boolean if the first piece says so; a later one cannot change the file's columns any more.
    booleans = [_all_booleans([row[place] for row in first]) for place in places]
    rows = first
    while True:
        columns = [
            _column([row[place] for row in rows], boolean, name)
            for place, boolean, name in zip(places, booleans, wanted, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, names=list(wanted))
        with _translated():
            rows = cursor.fetchmany(_ROWS_AT_ONCE) if rows else []
        if not rows:
            return


def _all_booleans(values: Sequence[object]) -> bool:
    return {type(value) for value in values} - {type(None)} == {bool}


def _column(values: list[object], boolean: bool, name: str) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    if boolean:
        if kinds - {bool}:
            remedy = "holds true and false in its first rows, and something else later; select it as text"
            raise InvalidInput("columns", name, remedy)
        return pa.array(values, pa.bool_())
    texts = values if kinds <= {str} else [_text(value, name) for value in values]
    return pa.array(texts, pa.string())


def _text(value: Any, name: str) -> str | None:
    """As `core.cells.as_text` writes a column; the values of one column may differ in kind here."""
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case float() if value != value:
            return None
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case Decimal() if not value.is_finite():
            return None
        case Decimal() if value == (whole := value.to_integral_value()):
            return format(whole, "f")
        case Decimal():
            return format(value, "f")
        case int() | float() | UUID():
            return str(value)
        case datetime() | date():
            return value.isoformat()
    remedy = f"holds {type(value).__name__}, which is no text; leave the column out, or select it as text"
    raise InvalidInput("columns", name, remedy)


@contextmanager
def _translated() -> Iterator[None]:
    """The database's errors as ours, without their chain: they quote values, and addresses."""
    try:
        yield
    except SmsFlowError:
        raise
    except Exception as error:  # every driver has a family of its own
        state = _sql_state(error)
        if state.startswith("42") or getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR:
            # Said of the query itself, before it met any row.
            lines = str(error).strip().splitlines() or [""]
            raise InvalidInput("sql", state or type(error).__name__, f"{lines[0]}; mend the query") from None
        raise Unavailable(
            f"the database failed: {type(error).__name__} {state}".strip()
            + "; its own text may quote people's data, so run the query in the database's console to see it"
        ) from None


def _sql_state(error: Exception) -> str:
    """The five characters of the SQL standard, wherever a driver keeps them, or nothing."""
    for name in ("sqlstate", "pgcode"):
        if isinstance(state := getattr(error, name, None), str):
            return state
    first = error.args[0] if error.args else None
    return first if isinstance(first, str) and len(first) == 5 and first.isalnum() else ""
