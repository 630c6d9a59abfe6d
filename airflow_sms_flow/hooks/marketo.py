"""The connection type `marketo`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_sms_flow.hooks.fields import ConnectionFields, get_fields
from airflow_sms_flow.hooks.forms import check_result, field_behaviour, form_widgets

if TYPE_CHECKING:
    from airflow_sms_flow.clients.marketo import MarketoClient
    from airflow_sms_flow.ledger import Ledger

_MUNCHKIN_ID = re.compile(r"\d{3}-[A-Z]{3}-\d{3}", re.IGNORECASE)


class MarketoHook(BaseHook):
    """Reads the Airflow connection and hands out the client.

    :param marketo_conn_id: a connection of the type Marketo: host (the Munchkin id `123-ABC-456`, the
        endpoint as Marketo's admin page shows it, or any http(s) address), login = client id,
        password = client secret of a LaunchPoint custom service.
    """

    conn_name_attr = "marketo_conn_id"
    default_conn_name = "marketo_default"
    conn_type = "marketo"
    hook_name = "Marketo"

    def __init__(self, marketo_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.marketo_conn_id = marketo_conn_id

    def client(self, *, stop: Callable[[], bool] | None = None, **overrides: Any) -> MarketoClient:
        """A client for this instance; `overrides` are further arguments of `MarketoClient`.

        `stop()` turning true ends waits. Raises `InvalidInput` or `ConfigError` that names the connection
        and the field where something is missing.
        """
        from airflow_sms_flow.clients.marketo import MarketoClient

        arguments: dict[str, Any] = {
            "host": self.base_url,
            "client_id": self._fields.login,
            "client_secret": self._fields.password,
            "stop": stop,
        }
        return MarketoClient(**(arguments | overrides))

    @contextmanager
    def sharing_client(
        self, ledger: Ledger, *, stop: Callable[[], bool] | None = None, **overrides: Any
    ) -> Iterator[MarketoClient]:
        """A client that shares our half of the instance's limits with every other task through the ledger;
        closed at the end. Raises `LedgerError` where the ledger does not answer."""
        from airflow_sms_flow.clients.marketo import half_of_the_limits
        from airflow_sms_flow.rings import SharingTimes, shared_rings

        # An export waits for minutes: its share is renewed less often than a sender's.
        times = SharingTimes(renew_every_seconds=5.0, lease_seconds=30.0, answer_seconds=65.0)
        ring = half_of_the_limits()
        with (
            closing(self.client(stop=stop, ring=ring, **overrides)) as client,
            shared_rings(ledger, f"marketo:{self.base_url}", {"calls": ring}, times),
        ):
            yield client

    @property
    def base_url(self) -> str:
        """The address above `/rest`, `/identity` and `/bulk` (facts D.1), without a trailing slash."""
        fields = self._fields
        if not fields.host:
            raise fields.wrong("host", None, "fill in the Munchkin id, such as 123-ABC-456, or an address")
        if _MUNCHKIN_ID.fullmatch(fields.host):
            return fields.base_url(f"https://{fields.host}.mktorest.com")
        address = fields.base_url(fields.host)
        return address.removesuffix("/rest").removesuffix("/identity")

    def test_connection(self) -> tuple[bool, str]:
        """What the Test button of the connection form calls. Only reads."""
        return check_result(self.marketo_conn_id, self.client)

    @cached_property
    def _fields(self) -> ConnectionFields:
        return get_fields(self.marketo_conn_id, self.hook_name)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """For Airflow 3.1; later ones read provider_info."""
        return form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """For Airflow 3.1; later ones read provider_info."""
        return field_behaviour(cls.conn_type)
