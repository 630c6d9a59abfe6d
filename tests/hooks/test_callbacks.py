"""The address that Vibes is told to call back."""

from __future__ import annotations

import pytest

from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.hooks.callbacks import callback_address, masked_callback_address
from airflow_sms_flow.hooks.vibes import VibesHook
from tests.hooks.conftest import GiveConnection

NEW, OLD = "the-newest_secret-0123", "the-oldest_secret-0123"


@pytest.fixture(autouse=True)
def _public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_URL", "https://sms.example.com/airflow/")
    monkeypatch.delenv("AIRFLOW__SMS_FLOW__CALLBACK_CONN_IDS", raising=False)


def give(give_connection: GiveConnection, secrets: object, conn_id: str = "vibes_default") -> None:
    extra = {"company_key": "acme", "callback_secrets": secrets}
    give_connection(conn_id, conn_type="vibes", login="u", password="robot-password", extra=extra)


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n"])
def test_the_newest_secret_is_registered(give_connection: GiveConnection, separator: str) -> None:
    """The first of several; all of them open the door."""
    give(give_connection, f"{NEW}{separator}{OLD}")
    assert VibesHook().callback_secrets == (NEW, OLD)
    assert callback_address("vibes_default") == f"https://sms.example.com/airflow/sms-flow/callbacks/{NEW}"
    assert masked_callback_address() == "https://sms.example.com/airflow/sms-flow/callbacks/***"


@pytest.mark.parametrize(
    "secrets", ["short", f"{NEW} short", "with/slash-0123456789", "ümlaut-0123456789-0", [NEW]]
)
def test_a_secret_that_could_be_guessed_or_broken_is_refused(
    give_connection: GiveConnection, secrets: object
) -> None:
    """It stands in a path: sixteen characters at least, none that needs escaping. It is not repeated."""
    give(give_connection, secrets)
    with pytest.raises(InvalidInput, match="callback_secrets=None: each secret has 16") as caught:
        _ = VibesHook().callback_secrets
    assert "short" not in str(caught.value)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("secrets", [None, "", "  "])
def test_without_a_secret_there_is_no_address(give_connection: GiveConnection, secrets: object) -> None:
    """The remedy says how to make one."""
    give(give_connection, secrets)
    assert VibesHook().callback_secrets == ()
    with pytest.raises(InvalidInput, match="token_urlsafe"):
        callback_address("vibes_default")


def test_a_connection_that_the_api_server_does_not_listen_for_is_refused(
    give_connection: GiveConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its callbacks would be answered 404, and lost."""
    give(give_connection, NEW, "vibes_eu")
    with pytest.raises(InvalidInput, match=r"callback_conn_ids='vibes_default': add vibes_eu"):
        callback_address("vibes_eu")
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_CONN_IDS", "vibes_default,vibes_eu")
    assert callback_address("vibes_eu").endswith(NEW)
    with pytest.raises(ConfigError, match="there is no connection"):
        callback_address("vibes_default")


def test_airflow_masks_each_secret_in_task_logs(give_connection: GiveConnection) -> None:
    """The field as a whole is masked by its name; a log shows one of them."""
    from airflow.sdk.log import redact

    give(give_connection, f"{NEW},{OLD}")
    assert VibesHook().callback_secrets
    assert redact(f"https://host/{OLD}") == "https://host/***"
