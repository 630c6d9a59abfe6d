"""The address that Vibes calls back: where the plugin listens, and what a registration tells Vibes."""

from __future__ import annotations

from airflow_sms_flow import settings
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.hooks.vibes import CALLBACK_SECRET_REMEDY, VibesHook

#: Where the plugin's receiver is mounted on the API server.
CALLBACK_PATH = "/sms-flow/callbacks"


def callback_address(conn_id: str, base_url: str | None = None) -> str:
    """The whole address for the account of this connection, with the newest of its secrets. `base_url`
    stands for `[sms_flow] callback_url`.

    Never log it: whoever knows it may say anything in the vendor's name. `masked_callback_address` may be
    shown. Raises `InvalidInput` or `ConfigError` where the connection, its secret or the public address of
    the API server is missing.
    """
    if conn_id not in settings.callback_conn_ids():
        raise InvalidInput(
            "[sms_flow] callback_conn_ids",
            ",".join(settings.callback_conn_ids()),
            f"add {conn_id}: else the API server would refuse its callbacks",
        )
    secrets = VibesHook(conn_id).callback_secrets
    if not secrets:
        raise InvalidInput(f"connection {conn_id!r}, callback_secrets", None, CALLBACK_SECRET_REMEDY)
    return f"{settings.callback_url(base_url)}{CALLBACK_PATH}/{secrets[0]}"


def masked_callback_address() -> str:
    """The same for people's eyes."""
    return f"{settings.callback_url()}{CALLBACK_PATH}/***"
