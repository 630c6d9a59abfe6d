"""The connection type `marketo`."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.hooks.marketo import MarketoHook
from tests.hooks.conftest import GiveConnection

INSTANCE: dict[str, Any] = {
    "conn_type": "marketo",
    "host": "123-ABC-456",
    "login": "client-id",
    "password": "client-secret",
}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("123-ABC-456", "https://123-abc-456.mktorest.com"),
        ("https://123-ABC-456.mktorest.com", "https://123-abc-456.mktorest.com"),
        ("123-abc-456.mktorest.com", "https://123-abc-456.mktorest.com"),
        ("https://123-ABC-456.mktorest.com/rest", "https://123-abc-456.mktorest.com"),
        ("https://123-ABC-456.mktorest.com/identity/", "https://123-abc-456.mktorest.com"),
        ("http://127.0.0.1:8000/rest", "http://127.0.0.1:8000"),
    ],
)
def test_the_munchkin_id_the_endpoint_and_any_address_will_do(
    give_connection: GiveConnection, host: str, address: str
) -> None:
    """What Marketo's admin page shows can be pasted as it is; host names know no capitals."""
    give_connection("marketo_default", **INSTANCE | {"host": host})
    assert MarketoHook().base_url == address


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"host": ""}, "host"),
        ({"host": "ftp://123-ABC-456.mktorest.com"}, "host"),
        ({"login": " "}, "login"),
        ({"password": None}, "password"),
    ],
)
def test_what_is_missing_is_named_with_its_connection(
    give_connection: GiveConnection, change: dict[str, Any], field: str
) -> None:
    """Every error says which connection and which field."""
    give_connection("my_marketo", **INSTANCE | change)
    with pytest.raises(InvalidInput) as caught:
        MarketoHook("my_marketo").client()
    assert caught.value.field == f"connection 'my_marketo', {field}"


def test_a_connection_that_does_not_exist_is_named() -> None:
    """Somebody who mistyped the id learns the id and where connections are made."""
    with pytest.raises(ConfigError, match=r"no connection 'nowhere'.*Marketo"):
        MarketoHook("nowhere").client()


def test_the_test_button_is_red_where_nobody_answers(give_connection: GiveConnection) -> None:
    """A refused connection is told without the address that holds the secret."""
    give_connection("m", **INSTANCE | {"host": "http://127.0.0.1:9"})
    works, text = MarketoHook("m").test_connection()
    assert not works
    assert "client-secret" not in text
