"""Any connection whose provider speaks SQL: Postgres, Snowflake, BigQuery, Redshift, MySQL, SQLite, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.hooks.fields import get_fields

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


def database_hook(conn_id: str) -> DbApiHook:
    """The hook of Airflow's own for this connection.

    Raises `ConfigError` where there is no such connection, where it is not to a database, and where the
    package of its type is missing.
    """
    from airflow.providers.common.compat.sdk import AirflowException

    connection: Any = get_fields(conn_id, "Postgres, Snowflake or another database").connection
    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError:
        raise ConfigError(
            "reading from a database needs the package apache-airflow-providers-common-sql wherever tasks run"
        ) from None
    kind = connection.conn_type
    try:
        hook = connection.get_hook()
    except (AirflowException, ImportError):  # an unknown type, or one whose driver is missing
        raise ConfigError(
            f"the connection {conn_id!r} is of the type {kind!r}, which nothing here can open: install its "
            f"provider (apache-airflow-providers-{str(kind).replace('_', '-')}) wherever tasks run"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise ConfigError(f"the connection {conn_id!r} is of the type {kind!r}, which is no database")
    return hook
