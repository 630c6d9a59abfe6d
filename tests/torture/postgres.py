"""A PostgreSQL server that these tests may kill and start again, and that the whole matrix can share."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from airflow_sms_flow.demo.local_airflow import free_port

_START_SECONDS = 60
_IDLE_WITH_LOCKS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = %s AND state = 'idle in transaction' AND backend_xid IS NOT NULL
"""


def program(name: str) -> str:
    """Where it is, or "". Debian keeps the server's programs off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name) or ""


class PostgresServer:
    """On loopback, with databases that it makes on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._run: dict[str, Any] = {
            "cwd": folder,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            names = {one.pw_name for one in pwd.getpwall()}
            self._run["user"] = "postgres" if "postgres" in names else "nobody"
            shutil.chown(folder, self._run["user"])
        command = [program("initdb"), "-D", f"{folder}/data", "-U", "sms", "--auth=trust", "-N"]
        subprocess.run(command, check=True, **self._run)
        self._process = self._started()

    def make_database(self, name: str) -> str:
        """Its address."""
        self._execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://sms@127.0.0.1:{self.port}/{name}"

    def is_locked(self, database: str) -> bool:
        """Whether somebody there keeps rows locked without doing anything."""
        with self._connect() as connection:
            row = connection.execute(_IDLE_WITH_LOCKS, (database,)).fetchone()
        return row is not None and row[0] > 0

    def crash(self) -> None:
        """All of the server at once, as when its machine is reset: nobody is told, nothing is tidied up."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def start_again(self) -> None:
        """It recovers by itself what it had committed."""
        self._process = self._started()

    def stop(self) -> None:
        """For good."""
        if self._process.poll() is None:
            self.crash()

    def _started(self) -> subprocess.Popen[bytes]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # a crash of the server loses nothing by that, only one of the machine would
        }
        settings = [f"--{key}={value}" for key, value in options.items()]
        command = [program("postgres"), "-D", f"{self.folder}/data", *settings]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **self._run)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with suppress(psycopg.OperationalError):
                self._execute("SELECT 1")
                return process
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start")
            time.sleep(0.1)

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _connect(self) -> psycopg.Connection:
        address = f"postgresql://sms@127.0.0.1:{self.port}/postgres"
        return psycopg.connect(address, autocommit=True, connect_timeout=5)


@contextmanager
def postgres_server() -> Iterator[PostgresServer | None]:
    """None where PostgreSQL is not installed."""
    if not program("initdb"):
        yield None
        return
    with TemporaryDirectory(prefix="pg-") as folder:
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
