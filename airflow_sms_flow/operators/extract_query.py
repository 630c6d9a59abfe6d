"""Extract Query: an audience from a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_id
from airflow_sms_flow.operators._base import is_literal
from airflow_sms_flow.operators._extract_source import ExtractSourceOperator

if TYPE_CHECKING:
    from airflow_sms_flow.sources.source import Source


class ExtractQueryOperator(ExtractSourceOperator):
    """Take the people whom a SQL query finds for `leads.parquet`; returns its audience reference.

    What comes out is what `ExtractSmartListOperator` gives: `id` as whole numbers, each once; true and false
    as booleans; everything else as text (moments as ISO 8601). NULL and empty text are missing. Rows are
    fetched and written in pieces, on PostgreSQL and MySQL through a cursor at the server.

    :param sql: one SELECT, or the name of a `.sql` file beside the DAG. Both are run through Jinja; values
        that people type into a form belong into `parameters`, never into the text.
    :param conn_id: a connection of any type whose provider speaks SQL (Postgres, Snowflake, BigQuery, ...).
    :param columns: which columns to take, and what a preparation calls them: `{"id": "customer_id",
        "mobilePhone": "cell"}`. None takes all, as they are called.
    :param parameters: values for the query's placeholders, a list or a mapping, as the database's driver
        writes them (`%(since)s` in PostgreSQL, `:since` in SQLite).

    Nobody found is a success. A query that the database does not understand, a missing column, and an id that
    is missing, no whole number or not unique, fails the task without retries.
    """

    template_fields: Sequence[str] = ("sql", "conn_id", "columns", "parameters")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "sql": "sql",
        "columns": "json",
        "parameters": "json",
    }

    def __init__(
        self,
        *,
        sql: str,
        conn_id: str,
        columns: Mapping[str, str] | str | None = None,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        **kwargs: Any,
    ) -> None:
        self.sql = sql
        self.conn_id = conn_id
        self.parameters = parameters
        super().__init__(columns=columns, **kwargs)

    def source(self) -> AbstractContextManager[Source]:
        """See `ExtractSourceOperator.source`."""
        from airflow_sms_flow.hooks.database import database_hook
        from airflow_sms_flow.sources.query import open_query

        return open_query(database_hook(self.conn_id), self.sql, self.parameters or None)

    def _check(self, *, rendered: bool) -> None:
        super()._check(rendered=rendered)
        if (rendered or is_literal(self.sql)) and not _is_text(self.sql):
            remedy = "give a SELECT, or the name of a .sql file"
            raise InvalidInput("sql", type(self.sql).__name__, remedy)
        if rendered or is_literal(self.conn_id):
            read_id("conn_id", self.conn_id, "give the id of a connection to a database")
        if not isinstance(self.parameters, list | tuple | Mapping | None) and (
            rendered or is_literal(self.parameters)
        ):
            remedy = "give the placeholders' values as a list or a mapping"
            raise InvalidInput("parameters", type(self.parameters).__name__, remedy)


def _is_text(sql: object) -> bool:
    return isinstance(sql, str) and bool(sql.strip(" \n\t;"))
