"""The connection type `vibes`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.hooks.fields import ConnectionFields
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.provider_info import get_provider_info
from tests.hooks.conftest import GiveConnection

LISTS_PATH = "/companies/acme/mobiledb/subscription_lists/"
ACCOUNT: dict[str, Any] = {
    "conn_type": "vibes",
    "host": "https://api.example.com",
    "login": "robot",
    "password": "s3cret/pass:word@",
    "extra": {"company_key": "acme", "source_code": "WEB", "region": None},
}


class FakeVibes(BaseHTTPRequestHandler):
    """Answers the one call that the Test button makes."""

    def do_GET(self) -> None:
        known = self.path == LISTS_PATH and (self.headers["Authorization"] or "").startswith("Basic ")
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps([] if known else {"errors": [{"message": "no", "code": 1}]}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence on stderr."""


@pytest.fixture
def vibes_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeVibes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_connection_becomes_the_clients_address_and_names(give_connection: GiveConnection) -> None:
    """Host, company key and source code come out as they were filled in; a null extra is missing."""
    give_connection("vibes_default", **ACCOUNT)
    hook = VibesHook()
    assert hook.base_url == "https://api.example.com"
    assert hook.company_key == "acme"
    assert hook.source_code == "WEB"


@pytest.mark.parametrize(
    ("region", "address"),
    [("us", "https://public-api.vibescm.com"), ("EU", "https://public-api.eu.vibes.com")],
)
def test_an_empty_host_means_the_regions_host(
    give_connection: GiveConnection, region: str, address: str
) -> None:
    """The vendor's own hosts, with no slash at the end."""
    give_connection("v", **ACCOUNT | {"host": "", "extra": {"company_key": "acme", "region": region}})
    assert VibesHook("v").base_url == address


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("api.example.com", None, "https://api.example.com"),
        (" api.example.com/ ", 0, "https://api.example.com"),
        ("api.example.com", 443, "https://api.example.com"),
        ("api.example.com", 8443, "https://api.example.com:8443"),
        ("localhost:8000", None, "https://localhost:8000"),
        ("http://127.0.0.1:8000", None, "http://127.0.0.1:8000"),
        ("http://127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", 8000, "http://127.0.0.1:8000"),
        ("http://[::1]", 8000, "http://[::1]:8000"),
        ("https://proxy.example.com/vibes/", None, "https://proxy.example.com/vibes"),
    ],
)
def test_any_http_address_will_do(
    give_connection: GiveConnection, host: str, port: int | None, address: str
) -> None:
    """A stand-in is one connection away; a bare host is https; a port counts wherever it is written."""
    give_connection("v", **ACCOUNT | {"host": host, "port": port})
    assert VibesHook("v").base_url == address


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"extra": {}}, "company_key"),
        ({"extra": {"company_key": "  "}}, "company_key"),
        ({"extra": {"company_key": None}}, "company_key"),
        ({"login": None}, "login"),
        ({"password": ""}, "password"),
        ({"host": None}, "host"),
        ({"host": "", "extra": {"company_key": "acme", "region": "mars"}}, "region"),
        ({"host": "ftp://api.example.com"}, "host"),
        ({"host": "https://"}, "host"),
        ({"host": "two words"}, "host"),
        ({"host": "http://127.0.0.1:99999"}, "host"),
        ({"host": "http://127.0.0.1:8000", "port": 9000}, "port"),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_its_connection(
    give_connection: GiveConnection, change: dict[str, Any], field: str
) -> None:
    """Every error says which connection and which field, before anything is sent."""
    give_connection("my_vibes", **ACCOUNT | change)
    with pytest.raises(InvalidInput) as caught:
        VibesHook("my_vibes").client()
    assert caught.value.field == f"connection 'my_vibes', {field}"


@pytest.mark.parametrize(
    "host", ["https://robot:hunter2@api.example.com", "https://api.example.com?key=hunter2"]
)
def test_a_secret_in_the_host_is_refused_and_not_repeated(give_connection: GiveConnection, host: str) -> None:
    """The error of an address that carries a secret does not carry it further."""
    give_connection("v", **ACCOUNT | {"host": host})
    with pytest.raises(InvalidInput, match="without user, password or query") as caught:
        VibesHook("v").client()
    assert "hunter2" not in str(caught.value)


def test_an_extra_that_is_no_object_is_refused() -> None:
    """Some secrets backends hand over whatever somebody stored."""
    from airflow.sdk import Connection

    with pytest.raises(InvalidInput, match="connection 'v', extra=None: a JSON object"):
        ConnectionFields("v", Connection(conn_id="v", conn_type="vibes", extra="[1, 2]"))


def test_a_connection_that_does_not_exist_is_named() -> None:
    """Somebody who mistyped the id learns the id and where connections are made."""
    with pytest.raises(ConfigError, match=r"no connection 'nowhere'.*Vibes"):
        VibesHook("nowhere").client()


def test_the_client_takes_further_arguments(give_connection: GiveConnection) -> None:
    """What an operator wants otherwise than by default goes through the hook untouched."""
    give_connection("v", **ACCOUNT)
    from airflow_sms_flow.clients.vibes import VibesRings

    rings = VibesRings()
    client = VibesHook("v").client(stop=lambda: False, rings=rings, timeout=(1.0, 2.0))
    assert client.rings is rings
    client.close()


def test_the_test_button_says_what_the_account_answers(
    give_connection: GiveConnection, vibes_port: int
) -> None:
    """With right credentials it is green and says something about the account."""
    give_connection("v", **ACCOUNT | {"host": "http://127.0.0.1", "port": vibes_port})
    works, text = VibesHook("v").test_connection()
    assert works, text
    assert "list" in text


def test_the_test_button_is_red_without_a_made_up_connection_id(give_connection: GiveConnection) -> None:
    """Airflow tests under a random id, which would only confuse."""
    give_connection("qwertz", **ACCOUNT | {"extra": {}})
    works, text = VibesHook("qwertz").test_connection()
    assert not works
    assert text.startswith("company_key")


def test_the_test_button_is_red_for_a_wrong_company(give_connection: GiveConnection, vibes_port: int) -> None:
    """The vendor's refusal reaches the form, without the password."""
    give_connection(
        "v", **ACCOUNT | {"host": f"http://127.0.0.1:{vibes_port}", "extra": {"company_key": "another"}}
    )
    works, text = VibesHook("v").test_connection()
    assert not works
    assert "401" in text
    assert ACCOUNT["password"] not in text


def test_airflow_3_1_gets_the_same_form_as_later_ones() -> None:
    """The behaviour of the standard fields is declared once and handed over in both shapes."""
    declared = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
    assert VibesHook.get_ui_field_behaviour() == {
        key.replace("hidden-fields", "hidden_fields"): value for key, value in declared.items()
    }
