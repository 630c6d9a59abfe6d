"""The ledger's connection: `[sms_flow] ledger_conn_id`, or the SQLite file in AIRFLOW_HOME."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow_sms_flow import settings
from airflow_sms_flow.core.errors import ConfigError, LedgerError
from airflow_sms_flow.hooks.fields import ConnectionFields, get_fields

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from airflow_sms_flow.ledger import Ledger

#: Extras of Airflow's own Postgres hook that mean nothing to the database itself.
_HOOK_EXTRAS = frozenset(
    {
        "aws_conn_id",
        "azure_conn_id",
        "cluster-identifier",
        "cursor",
        "iam",
        "redshift",
        "redshift-serverless",
        "sqlalchemy_query",
        "sqlalchemy_scheme",
        "workgroup-name",
    }
)


def open_ledger() -> Ledger:
    """The ledger of this installation, its tables created or upgraded. The caller closes it.

    Raises `ConfigError` where the next machine would find another ledger than this one, or where the driver
    is missing; `InvalidInput` for a connection that cannot work; `LedgerError` where it does not answer.
    """
    return _open(ledger_address())


class LedgerOpener:
    """`open_ledger` for a process that lives on when its ledger fails, and opens it again; for its threads.

    A SQLite file that it has opened before, and that is gone, is a `LedgerError`: what came into an empty one
    in its place would be lost when the right one is put back.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()

    def __call__(self) -> Ledger:
        """The ledger, to be closed by the caller."""
        address = ledger_address()
        file = address.database if _is_file(address) else None
        if file is None:
            return _open(address)
        if file in self._files and not os.path.exists(file):
            raise LedgerError(
                f"the ledger {file} was deleted while it was in use: put it back. If it is lost for good, "
                "restart this part of Airflow, which begins an empty one"
            )
        ledger = _open(address)
        self._files.add(file)
        return ledger


def _open(address: URL) -> Ledger:
    settings.refuse_local_parts_on_other_machines(ledger_is_local=_is_file(address))

    from airflow_sms_flow.ledger import Ledger

    return Ledger.open(address)


def open_standing_ledger() -> Ledger | None:
    """The same for who writes nothing of its own: None where the SQLite file is not there yet."""
    address = ledger_address()
    return None if _is_file(address) and not os.path.exists(str(address.database)) else open_ledger()


def _is_file(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def ledger_address() -> URL:
    """Where the ledger is, as SQLAlchemy says it; printing it hides the password."""
    from sqlalchemy.engine import URL

    configured = settings.ledger_settings()
    if configured.conn_id is None:
        return URL.create("sqlite", database=configured.sqlite_path)
    fields = get_fields(configured.conn_id, "Postgres")
    kind = str(fields.connection.conn_type or "").lower()
    if kind in ("postgres", "postgresql"):
        return _postgres_address(fields)
    if kind == "sqlite":
        if not fields.host.startswith("/"):
            raise fields.wrong("host", fields.host or None, "the absolute path of the SQLite file")
        return URL.create("sqlite", database=fields.host)
    raise fields.wrong(
        "conn_type",
        kind,
        "the ledger lives in PostgreSQL (or SQLite): name a connection of the type postgres",
    )


def _postgres_address(fields: ConnectionFields) -> URL:
    from sqlalchemy.engine import URL

    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import make_conninfo
    except ImportError:
        raise ConfigError(
            f"the ledger's connection {fields.conn_id!r} needs the PostgreSQL driver: "
            "pip install 'airflow-sms-flow[postgres]' wherever tasks run"
        ) from None
    if str(fields.extra.get("iam", "")).lower() == "true":
        raise fields.wrong("iam", True, "log-in by cloud identity is not supported: use login and password")
    options = {name: str(value) for name, value in fields.extra.items() if name not in _HOOK_EXTRAS}
    try:
        make_conninfo(**options)
    except ProgrammingError:
        raise fields.wrong(
            "extra", sorted(options), "only options that PostgreSQL's own client knows, such as sslmode"
        ) from None
    connection: Any = fields.connection
    return URL.create(
        "postgresql+psycopg",
        username=connection.login or None,
        password=connection.password or None,
        host=fields.host or None,
        port=connection.port or None,
        database=connection.schema or None,
        query=options,
    )
