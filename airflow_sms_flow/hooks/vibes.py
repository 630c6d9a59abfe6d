"""The connection type `vibes`."""

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
    from airflow_sms_flow.clients.vibes import VibesClient, VibesRings
    from airflow_sms_flow.ledger import Ledger

#: The vendor's hosts; credentials of one region are unknown in the other (facts A.0).
_REGION_HOSTS = {"us": "https://public-api.vibescm.com", "eu": "https://public-api.eu.vibes.com"}


#: The vendor's limits per company key (facts A.0); a connection may set lower ones.
_EVENTS_PER_SECOND, _CALLS_PER_SECOND = 300, 100

#: A secret stands in a path: it needs no escaping there, and cannot be guessed.
_CALLBACK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,200}")
CALLBACK_SECRET_REMEDY = (
    "each secret has 16 to 200 letters, digits, - or _; several are separated by commas or blanks. Make one "
    'with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
)


class VibesHook(BaseHook):
    """Reads the Airflow connection and hands out the client.

    :param vibes_conn_id: a connection of the type Vibes: host (any http(s) address) or extra `region` (us or
        eu), login, password, extra `company_key`, and extra `source_code`, the short code that texts come
        from.
    """

    conn_name_attr = "vibes_conn_id"
    default_conn_name = "vibes_default"
    conn_type = "vibes"
    hook_name = "Vibes"

    def __init__(self, vibes_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vibes_conn_id = vibes_conn_id

    def client(self, *, stop: Callable[[], bool] | None = None, **overrides: Any) -> VibesClient:
        """A client for this account; `overrides` are further arguments of `VibesClient`.

        `stop()` turning true ends waits for the rate limit. Raises `InvalidInput` or `ConfigError` that
        names the connection and the field where something is missing.
        """
        from airflow_sms_flow.clients.vibes import VibesClient

        arguments: dict[str, Any] = {
            "host": self.base_url,
            "company_key": self.company_key,
            "username": self._fields.login,
            "password": self._fields.password,
            "stop": stop,
            "rings": self._rings(),
        }
        return VibesClient(**(arguments | overrides))

    @contextmanager
    def sharing_client(
        self, ledger: Ledger, *, stop: Callable[[], bool] | None = None, **overrides: Any
    ) -> Iterator[VibesClient]:
        """A client that shares the account's rate limits with every other task through the ledger; closed
        at the end. Raises `LedgerError` where the ledger does not answer."""
        from airflow_sms_flow.rings import shared_rings

        rings = self._rings()
        named = {"events": rings.events, "calls": rings.calls}
        with (
            closing(self.client(stop=stop, rings=rings, **overrides)) as client,
            shared_rings(ledger, f"vibes:{self.company_key}", named),
        ):
            yield client

    def _rings(self) -> VibesRings:
        """The account's rate limits: the vendor's, or lower ones from the connection."""
        from airflow_sms_flow.clients.throttle import Ring
        from airflow_sms_flow.clients.vibes import VibesRings

        return VibesRings(
            events=Ring(self._fields.whole_number("events_per_second", _EVENTS_PER_SECOND)),
            calls=Ring(self.calls_per_second),
        )

    @property
    def calls_per_second(self) -> int:
        """The account's limit for all calls but events."""
        return self._fields.whole_number("calls_per_second", _CALLS_PER_SECOND)

    @property
    def base_url(self) -> str:
        """The address of the API, without a trailing slash."""
        fields = self._fields
        if fields.host:
            return fields.base_url(fields.host)
        region = fields.extra_text("region")
        if region is None:
            raise fields.wrong("host", None, "fill in an address, or choose the region us or eu")
        if region.lower() not in _REGION_HOSTS:
            raise fields.wrong("region", region, "us or eu, or fill in the host instead")
        return fields.base_url(_REGION_HOSTS[region.lower()])

    @property
    def company_key(self) -> str:
        """The account's key: a part of every address, and of the identity of every send."""
        return self._fields.required_extra("company_key")

    @property
    def source_code(self) -> str | None:
        """The short code that our event-triggered campaigns text from; None where the connection has none."""
        return self._fields.extra_text("source_code")

    @property
    def callback_secrets(self) -> tuple[str, ...]:
        """What opens the address that Vibes calls back, the newest first; empty where there are none.

        Each is made known to Airflow's log masker. Raises `InvalidInput`, which repeats none of them.
        """
        from airflow.sdk.log import mask_secret

        secrets = tuple((self._fields.extra_text("callback_secrets") or "").replace(",", " ").split())
        for secret in secrets:
            mask_secret(secret)
        if not all(_CALLBACK_SECRET.fullmatch(secret) for secret in secrets):
            raise self._fields.wrong("callback_secrets", None, CALLBACK_SECRET_REMEDY)
        return secrets

    def test_connection(self) -> tuple[bool, str]:
        """What the Test button of the connection form calls. Only reads."""
        return check_result(self.vibes_conn_id, self.client)

    @cached_property
    def _fields(self) -> ConnectionFields:
        return get_fields(self.vibes_conn_id, self.hook_name)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """For Airflow 3.1; later ones read provider_info."""
        return form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """For Airflow 3.1; later ones read provider_info."""
        return field_behaviour(cls.conn_type)
