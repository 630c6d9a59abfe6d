"""Reading an Airflow connection: what is empty is missing, what is missing is named, an address is checked.

A connection made in the UI stores unset extras as explicit nulls and an unset port as 0; both mean missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_sms_flow.core.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from airflow.sdk import Connection

_ADDRESS_REMEDY = "an http(s) address such as https://api.example.com or http://127.0.0.1:8000"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def get_fields(conn_id: str, kind: str) -> ConnectionFields:
    """The connection of that id. Raises `ConfigError` where there is none; `kind` is told to the reader."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException
    from airflow.sdk import BaseHook

    try:
        return ConnectionFields(conn_id, BaseHook.get_connection(conn_id))
    except AirflowNotFoundException:
        raise ConfigError(
            f"there is no connection {conn_id!r}: create it, of the type {kind}, under Admin, Connections"
        ) from None


class ConnectionFields:
    """One connection's fields, trimmed. Whatever is asked for is a text, or is refused by its name."""

    def __init__(self, conn_id: str, connection: Connection) -> None:
        self.conn_id = conn_id
        self.connection = connection
        extra: Any = connection.extra_dejson
        if not isinstance(extra, dict):
            raise self.wrong("extra", None, "a JSON object")
        self.extra: dict[str, Any] = {
            key: value for key, value in extra.items() if value is not None and str(value).strip()
        }

    @property
    def host(self) -> str:
        return (self.connection.host or "").strip()

    @property
    def login(self) -> str:
        return self._required("login", (self.connection.login or "").strip())

    @property
    def password(self) -> str:
        return self._required("password", self.connection.password)

    def extra_text(self, name: str) -> str | None:
        """An extra field, or None where it is absent, null or blank."""
        return str(self.extra[name]).strip() if name in self.extra else None

    def required_extra(self, name: str) -> str:
        return self._required(name, self.extra_text(name))

    def whole_number(self, name: str, most: int) -> int:
        """An extra field between 1 and `most`, which also is its default."""
        text = self.extra_text(name)
        if text is None:
            return most
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise self.wrong(name, text, f"a whole number from 1 to {most}, the vendor's own limit")
        return int(text)

    def base_url(self, host: str) -> str:
        """`host` and the port as one address without a trailing slash; a bare host gets https.

        User, query and fragment have no place there. Such an address is not repeated in the error: it may
        carry a secret.
        """
        address = host if "://" in host else f"https://{host}"
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise self.wrong("host", None, _ADDRESS_REMEDY) from None
        if "@" in address or parts.query or parts.fragment:
            raise self.wrong("host", None, f"{_ADDRESS_REMEDY}, without user, password or query")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or any(c.isspace() for c in address):
            raise self.wrong("host", host, _ADDRESS_REMEDY)
        separate_port = self.connection.port or None
        if port and separate_port and port != separate_port:
            raise self.wrong("port", separate_port, f"the host already says {port}: fill in one of the two")
        port = port or separate_port
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        suffix = f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else ""
        return f"{parts.scheme}://{name}{suffix}{parts.path.rstrip('/')}"

    def wrong(self, field: str, value: object, remedy: str) -> InvalidInput:
        return InvalidInput(f"connection {self.conn_id!r}, {field}", value, remedy)

    def _required(self, field: str, value: str | None) -> str:
        if not value:
            raise self.wrong(field, None, "fill it in")
        return value
