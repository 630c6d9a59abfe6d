"""The application as Airflow mounts it: its life, its settings, and what a wrong one costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.plugin import SmsFlowPlugin, listening
from airflow_sms_flow.plugin.app import CallbackApp
from tests.plugin.asgi_caller import SECRET


@pytest.fixture(autouse=True)
def _airflow_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(listening, "_BUSY_SECONDS", 0.05)
    extra = {"company_key": "acme", "callback_secrets": f"{SECRET}, another-secret-0123456789"}
    connection = {"conn_type": "vibes", "login": "u", "password": "robot-password", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_VIBES_DEFAULT", json.dumps(connection))


@contextmanager
def api_server(peer: str = "203.0.113.7", root_path: str = "") -> Iterator[TestClient]:
    """An application that mounts ours and runs its lifespan as Airflow's does."""
    ours = CallbackApp()

    outer = FastAPI(root_path=root_path, lifespan=lambda _: ours.router.lifespan_context(ours))
    outer.mount(CALLBACK_PATH, ours)
    with TestClient(outer, client=(peer, 40000)) as client:
        yield client


def test_the_plugin_hands_over_one_app_below_the_callbacks_path() -> None:
    """Airflow asks more than once (its page of plugins does): it is the same one, and no thread runs yet."""
    plugin = SmsFlowPlugin()
    (mounted,) = plugin.fastapi_apps
    assert mounted["url_prefix"] == "/sms-flow/callbacks"
    assert plugin.fastapi_apps[0]["app"] is mounted["app"]
    assert len(plugin.fastapi_root_middlewares) == 1


def test_importing_the_plugin_imports_nothing_of_the_receiver() -> None:
    """Scheduler, DAG processor and triggerer import it, too, and have no use for the rest."""
    program = (
        "import sys, airflow_sms_flow.plugin\n"
        "print([name for name in sys.modules if name.startswith('airflow_sms_flow.plugin')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['airflow_sms_flow.plugin']"


def test_a_callback_goes_through_to_the_ledger(tmp_path: Path) -> None:
    """With nothing but defaults: the ledger's SQLite file, the connection vibes_default."""
    with api_server() as client:
        for secret in (SECRET, "another-secret-0123456789"):
            answer = client.post(f"{CALLBACK_PATH}/{secret}", content=f'{{"event_id": "{secret}"}}')
            assert answer.status_code == 204
        assert client.post(f"{CALLBACK_PATH}/wrong", content=b"{}").status_code == 404
        assert client.get(f"{CALLBACK_PATH}/{SECRET}").status_code == 405
        ledger = Ledger.open(f"sqlite:///{tmp_path}/sms_flow/ledger.db")
        deadline = time.monotonic() + 10
        while ledger.unheard_callbacks():  # the background thread is at work
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ledger.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("callback_sources", "vibes, everywhere"),
        ("callback_trusted_proxies", "10.0.0.0/99"),
        ("callback_max_bytes", "lots"),
    ],
)
def test_a_wrong_setting_is_told_and_the_api_server_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, option: str, value: str
) -> None:
    """Field, value and remedy in the log; callbacks are answered 503, so that none is lost."""
    monkeypatch.setenv(f"AIRFLOW__SMS_FLOW__{option.upper()}", value)
    with api_server() as client:
        assert client.post(f"{CALLBACK_PATH}/{SECRET}", content=b"{}").status_code == 503
    assert f"[sms_flow] {option}=" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_wrong_connection_is_told_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as the API server starts."""
    extra = {"company_key": "acme", "callback_secrets": "too/short"}
    monkeypatch.setenv("AIRFLOW_CONN_VIBES_DEFAULT", json.dumps({"conn_type": "vibes", "extra": extra}))
    with api_server() as client:
        assert "connection 'vibes_default', callback_secrets" in caplog.text
        assert client.post(f"{CALLBACK_PATH}/too-short", content=b"{}").status_code == 503
    assert "too/short" not in caplog.text


def test_sources_and_proxies_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's addresses by their name, seen through a proxy that is trusted."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_SOURCES", "vibes")
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_TRUSTED_PROXIES", "10.0.0.0/8")
    with api_server(peer="10.1.2.3") as client:
        for forwarded, status in (("35.155.139.143", 204), ("35.155.139.143, 203.0.113.7", 404), ("", 404)):
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            answer = client.post(f"{CALLBACK_PATH}/{SECRET}", content=b"{}", headers=headers)
            assert answer.status_code == status


@pytest.mark.parametrize("path", ["/airflow/sms-flow/callbacks", "/sms-flow/callbacks"])
def test_an_airflow_below_a_path_receives_as_well(path: str) -> None:
    """With `[api] base_url` ending in /airflow, whether or not the proxy strips that."""
    with api_server(root_path="/airflow") as client:
        assert client.post(f"{path}/{SECRET}", content=b"{}").status_code == 204


def test_before_it_has_begun_everything_is_later() -> None:
    """An Airflow that never ran our lifespan would lose nothing either."""
    outer = FastAPI()
    outer.mount(CALLBACK_PATH, CallbackApp())
    assert TestClient(outer).post(f"{CALLBACK_PATH}/{SECRET}", content=b"{}").status_code == 503


def test_believed_headers_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With FORWARDED_ALLOW_IPS=* the server itself believes any X-Forwarded-For."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_SOURCES", "vibes")
    with api_server():
        pass
    assert "FORWARDED_ALLOW_IPS" in caplog.text
