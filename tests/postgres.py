"""A throw-away PostgreSQL on loopback, from whatever programs this machine has."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

MISSING = "no PostgreSQL programs here: apt-get install postgresql"
_START_SECONDS = 30


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


def is_here() -> bool:
    """Whether a server can be started at all."""
    return _program("initdb") is not None and _program("postgres") is not None


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; anybody else runs it as themselves."""
    if os.getuid() != 0:
        return None
    known = Path("/etc/passwd").read_text().splitlines()
    return "postgres" if any(line.startswith("postgres:") for line in known) else "nobody"


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[str]:
    """The address of a server without a database name. `durable`: commits reach the disk, as in
    production; tests do without."""
    user = _server_user()
    with tempfile.TemporaryDirectory(prefix="pg-") as name, socket.socket() as probe:
        if user is not None:
            shutil.chown(name, user)
        run = {"user": user, "cwd": name, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = f"{name}/data"
        initdb = [str(_program("initdb")), "-D", data, "-U", "sms", "--auth=trust", "--locale=C"]
        subprocess.run([*initdb, "--encoding=UTF8", "-N"], check=True, **run)  # type: ignore[call-overload]  # one dict for both calls
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": name}
        options |= {"fsync": "on" if durable else "off", "max_connections": 100}
        command = [
            str(_program("postgres")),
            "-D",
            data,
            *(f"--{key}={value}" for key, value in options.items()),
        ]
        server = subprocess.Popen(command, **run)  # type: ignore[call-overload]  # as above
        try:
            address = f"postgresql+psycopg://sms@127.0.0.1:{port}"
            _wait_for(address, server)
            yield address
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(10)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The address of an empty database of its own, dropped at the end."""
    name = f"ledger_{uuid.uuid4().hex}"
    with _connect(server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    with _connect(server) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _connect(server: str) -> psycopg.Connection:
    plain = server.replace("+psycopg", "")
    return psycopg.connect(f"{plain}/postgres", autocommit=True, connect_timeout=5)


def _wait_for(server_address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            _connect(server_address).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start") from None
            time.sleep(0.1)
