"""The section [sms_flow], and the guard against a ledger that other machines would not share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_sms_flow import settings
from airflow_sms_flow.core.errors import ConfigError, InvalidInput


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AIRFLOW__SMS_FLOW__"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("AIRFLOW_IS_K8S_EXECUTOR_POD", raising=False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")


def set_option(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"AIRFLOW__SMS_FLOW__{name.upper()}", value)


def test_without_settings_everything_lies_in_airflow_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The defaults need no server: a folder and a SQLite file in AIRFLOW_HOME."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert settings.storage_root() == str(tmp_path / "sms_flow" / "files")
    assert settings.ledger_settings() == settings.LedgerSettings(
        conn_id=None, sqlite_path=str(tmp_path / "sms_flow" / "ledger.db")
    )
    assert settings.keep_files_days() == 30
    assert settings.offered_lists() == {}
    assert settings.allow_local() is False


def test_a_storage_address_is_kept_and_a_relative_folder_counts_from_airflow_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two workers started in different folders mean the same place."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    set_option(monkeypatch, "storage", " s3://aws_default@bucket/sms ")
    assert settings.storage_root() == "s3://aws_default@bucket/sms"
    set_option(monkeypatch, "storage", "elsewhere/files")
    assert settings.storage_root() == str(tmp_path / "elsewhere" / "files")
    set_option(monkeypatch, "storage", "/mnt/shared")
    assert settings.storage_root() == "/mnt/shared"


def test_a_named_connection_replaces_the_sqlite_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ledger_conn_id` wins over the file, which is then not mentioned."""
    set_option(monkeypatch, "ledger_conn_id", "ledger_db")
    assert settings.ledger_settings() == settings.LedgerSettings(conn_id="ledger_db", sqlite_path=None)


def test_the_offered_lists_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form shows the lists as the configuration orders them."""
    set_option(monkeypatch, "lists", '{"1202": "Orders", "1201": " Store news "}')
    assert list(settings.offered_lists().items()) == [("1202", "Orders"), ("1201", "Store news")]


@pytest.mark.parametrize("value", ["[1201]", "1201", "{", '{"1201": 5}', '{"1201": ""}', '{"": "x"}'])
def test_lists_that_are_not_id_to_name_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A mistake in `lists` names the option and shows the right form."""
    set_option(monkeypatch, "lists", value)
    with pytest.raises(InvalidInput, match=r"\[sms_flow\] lists=.*\"Store news\""):
        settings.offered_lists()


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon"])
def test_a_silly_number_of_days_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Files are kept for a whole number of days, at least one."""
    set_option(monkeypatch, "keep_files_days", value)
    with pytest.raises(InvalidInput, match="keep_files_days"):
        settings.keep_files_days()


def test_allow_local_is_true_or_false_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt "yes" must not switch a guard off, or seem to."""
    set_option(monkeypatch, "allow_local", "TRUE")
    assert settings.allow_local() is True
    set_option(monkeypatch, "allow_local", "yep")
    with pytest.raises(InvalidInput, match="allow_local"):
        settings.allow_local()


@pytest.mark.parametrize(
    "address", ["/files", "files", "file:///files", "FILE:///files", "local://x", "memory://x"]
)
def test_paths_and_file_addresses_are_local(address: str) -> None:
    """These are seen by one machine alone."""
    assert settings.is_local_address(address)


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://bucket/x", "s3://conn@bucket/x", "abfs://box/x"])
def test_object_storage_is_not_local(address: str) -> None:
    """These are seen by every machine."""
    assert not settings.is_local_address(address)


@pytest.mark.parametrize(
    "executor",
    [
        "LocalExecutor",
        "here:LocalExecutor",
        "airflow.executors.local_executor.LocalExecutor",
        " LocalExecutor ",
    ],
)
def test_the_local_executor_may_use_local_parts(monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    """On one machine, a SQLite ledger and a folder are right."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    settings.refuse_local_parts_on_other_machines()


@pytest.mark.parametrize(
    "executor",
    [
        "CeleryExecutor",
        "KubernetesExecutor",
        "LocalExecutor,KubernetesExecutor",
        "LocalExecutor;team1=CeleryExecutor",
        "mine:my_company.executors.LocalExecutor",
    ],
)
def test_any_other_executor_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    """Both local parts are named with the settings that change them, and so is the way to insist."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    with pytest.raises(ConfigError) as caught:
        settings.refuse_local_parts_on_other_machines()
    for needed in ("[core] executor names", "ledger_conn_id", "storage", "allow_local"):
        assert needed in str(caught.value)


def test_only_what_is_local_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With files in object storage, the ledger alone is complained about, and the other way round."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    set_option(monkeypatch, "storage", "s3://bucket/sms")
    with pytest.raises(ConfigError, match="ledger is a SQLite file") as caught:
        settings.refuse_local_parts_on_other_machines()
    assert "[sms_flow] storage" not in str(caught.value)

    set_option(monkeypatch, "ledger_conn_id", "ledger_db")
    settings.refuse_local_parts_on_other_machines()
    with pytest.raises(ConfigError, match="ledger is a SQLite file"):
        settings.refuse_local_parts_on_other_machines(ledger_is_local=True)

    set_option(monkeypatch, "storage", "/mnt/files")
    with pytest.raises(ConfigError, match="local folder") as caught:
        settings.refuse_local_parts_on_other_machines()
    assert "SQLite" not in str(caught.value)


def test_allow_local_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares a folder between machines may say so."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    set_option(monkeypatch, "allow_local", "True")
    settings.refuse_local_parts_on_other_machines()


def test_a_kubernetes_pod_is_refused_although_its_configuration_says_local(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Helm chart sets `[core] executor` to LocalExecutor in worker pods; the pod's own mark decides."""
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    with pytest.raises(ConfigError, match="KubernetesExecutor"):
        settings.refuse_local_parts_on_other_machines()


def test_a_container_that_runs_one_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Container executors start `python -m airflow.sdk.execution_time.execute_workload` elsewhere."""
    from importlib.util import find_spec

    main = sys.modules["__main__"]
    spec = find_spec("airflow.sdk.execution_time.execute_workload")
    assert spec is not None, "Airflow's program for containers has another name now"
    monkeypatch.setattr(main, "__spec__", spec)
    with pytest.raises(ConfigError, match="container"):
        settings.refuse_local_parts_on_other_machines()


def test_dag_test_may_use_local_parts_under_any_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dag.test()` runs in this process, whatever the executor; an ordinary task's pipe changes nothing."""
    from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms, set_supervisor_comms

    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with set_supervisor_comms(InProcessSupervisorComms(supervisor=None)):  # type: ignore[arg-type]  # unused
        settings.refuse_local_parts_on_other_machines()
    with set_supervisor_comms(object()), pytest.raises(ConfigError):
        settings.refuse_local_parts_on_other_machines()


def test_importing_the_settings_imports_no_airflow() -> None:
    """The module is read by DAG files and the command line: Airflow is imported when something is asked."""
    program = "import sys, airflow_sms_flow.settings; print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("option", ["marketo_poll_seconds", "opt_in_poll_seconds"])
@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf"])
def test_a_poll_interval_is_a_time_that_passes(
    monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    """A minute by default; nothing that would hammer the vendor or wait for ever."""
    assert getattr(settings, option)() == 60.0
    set_option(monkeypatch, option, value)
    with pytest.raises(InvalidInput, match=option):
        getattr(settings, option)()


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "6001"])
def test_the_budget_of_opt_in_sensors_is_a_number_of_calls(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """A hundred a minute by default; no more than the account may make."""
    assert settings.opt_in_calls_per_minute() == 100
    set_option(monkeypatch, "opt_in_calls_per_minute", value)
    with pytest.raises(InvalidInput, match="opt_in_calls_per_minute"):
        settings.opt_in_calls_per_minute()


def test_without_settings_callbacks_may_come_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret of vibes_default decides; no proxy is believed; the address is the API server's own."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    assert settings.callback_conn_ids() == ("vibes_default",)
    assert settings.callback_sources() is None
    assert settings.callback_trusted_proxies() == ()
    assert settings.callback_max_bytes() == 262_144
    assert settings.callback_url() == "https://airflow.example.com"


def test_lists_are_separated_by_commas_or_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The word vibes stands for the twelve addresses that the vendor publishes."""
    set_option(monkeypatch, "callback_conn_ids", "vibes_us, vibes_eu")
    set_option(monkeypatch, "callback_sources", "vibes,10.20.0.0/16 2001:db8::/32")
    set_option(monkeypatch, "callback_trusted_proxies", "10.0.0.1")
    sources = settings.callback_sources()
    assert settings.callback_conn_ids() == ("vibes_us", "vibes_eu")
    assert sources is not None
    assert len(sources) == 14
    assert {str(network) for network in sources} > {"35.155.139.143/32", "54.217.181.160/32", "2001:db8::/32"}
    assert [str(network) for network in settings.callback_trusted_proxies()] == ["10.0.0.1/32"]


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("callback_sources", "vibes, everywhere", "everywhere"),
        ("callback_sources", "10.0.0.1/8", "10.0.0.1/8"),  # bits of a host: which of the two was meant?
        ("callback_trusted_proxies", "vibes", "vibes"),
        ("callback_trusted_proxies", "proxy.example.com", "proxy.example.com"),
        ("callback_max_bytes", "100", "100"),
        ("callback_max_bytes", "1e6", "1e6"),
        ("callback_url", "airflow.example.com", "airflow.example.com"),
        ("callback_url", "ftp://airflow.example.com", "ftp://"),
        ("callback_url", "https://airflow.example.com:99999", "99999"),
    ],
)
def test_a_wrong_callback_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, option: str, value: str, shown: str
) -> None:
    """Field, value and remedy."""
    set_option(monkeypatch, option, value)
    with pytest.raises(InvalidInput, match=rf"\[sms_flow\] {option}=.*{re.escape(shown)}.*: .*such as|from "):
        getattr(settings, option)()


@pytest.mark.parametrize(
    "url", ["https://user:pass-word@host", "https://host?key=pass-word", "https://host#pass-word"]
)
def test_a_callback_url_with_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It would stand in the log."""
    set_option(monkeypatch, "callback_url", url)
    with pytest.raises(InvalidInput, match="without user") as caught:
        settings.callback_url()
    assert "pass-word" not in str(caught.value)


def test_without_any_address_callback_url_must_be_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow itself cannot know under which name the world sees it."""
    monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)
    with pytest.raises(InvalidInput, match="callback_url=None"):
        settings.callback_url()
