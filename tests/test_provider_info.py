"""What Airflow reads of this package at its start, checked with Airflow's own loader."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import airflow
import jsonschema  # type: ignore[import-untyped]  # its stubs are not worth a dependency
import pytest

from airflow_sms_flow.provider_info import get_provider_info

DEFAULTS = {
    "storage": "",
    "ledger_conn_id": "",
    "allow_local": "False",
    "keep_files_days": "30",
    "marketo_poll_seconds": "60",
    "opt_in_poll_seconds": "60",
    "opt_in_calls_per_minute": "100",
    "callback_conn_ids": "",
    "callback_url": "",
    "callback_sources": "",
    "callback_trusted_proxies": "",
    "callback_max_bytes": "262144",
    "pool": "",
    "lists": "",
}


def run_in_fresh_airflow(home: Path, program: str) -> str:
    """Run Python in a process of its own whose AIRFLOW_HOME is empty; returns what it printed last."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW__")}
    environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_declaration_fits_airflows_schema() -> None:
    """Every key is one that Airflow's own schema of provider metadata accepts."""
    schema = Path(airflow.__file__).with_name("provider_info.schema.json")
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))


def test_the_declaration_imports_nothing_heavy() -> None:
    """Reading the metadata costs no component of Airflow an import."""
    program = (
        "import json, sys\n"
        "from airflow_sms_flow.provider_info import get_provider_info; get_provider_info()\n"
        "print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"airflow", "pandas", "requests", "sqlalchemy"} & set(json.loads(done.stdout))


@pytest.mark.airflow
def test_airflow_loads_the_provider_its_connection_types_and_its_plugin(tmp_path: Path) -> None:
    """Airflow's provider and plugin managers find both connection types and the plugin, without complaint."""
    program = """
import json
from airflow.providers_manager import ProvidersManager
from airflow import plugins_manager
manager = ProvidersManager()
hooks = {kind: manager.hooks[kind] for kind in ("vibes", "marketo")}
find = getattr(plugins_manager, "get_import_errors", None)
if find is None:
    plugins_manager.ensure_plugins_loaded()
    errors, plugins = plugins_manager.import_errors, plugins_manager.plugins
else:
    errors, plugins = find(), plugins_manager._get_plugins()[0]
print(json.dumps({
    "version": manager.providers["airflow-sms-flow"].version,
    "hooks": {kind: [hook.hook_name, hook.connection_id_attribute_name] for kind, hook in hooks.items()},
    "plugins": [plugin.name for plugin in plugins],
    "errors": {name: error for name, error in errors.items() if "sms_flow" in name},
}))
"""
    found = json.loads(run_in_fresh_airflow(tmp_path, program))
    assert found["hooks"] == {
        "vibes": ["Vibes", "vibes_conn_id"],
        "marketo": ["Marketo", "marketo_conn_id"],
    }
    assert "sms_flow" in found["plugins"]
    assert found["errors"] == {}


@pytest.mark.airflow
def test_airflow_knows_the_defaults_of_every_option(tmp_path: Path) -> None:
    """An option that nobody set is answered by Airflow itself, with the default that settings.py assumes."""
    program = (
        "import json; from airflow.configuration import conf\n"
        # What Airflow's components do at their start:
        "from airflow.providers_manager import ProvidersManager\n"
        "ProvidersManager().initialize_providers_configuration()\n"
        f"print(json.dumps({{name: conf.get('sms_flow', name) for name in {sorted(DEFAULTS)!r}}}))"
    )
    assert json.loads(run_in_fresh_airflow(tmp_path, program)) == DEFAULTS


def test_every_option_is_explained_and_survives_airflow_cfg() -> None:
    """Each option has a description and a text default, and its example reads back from an ini file."""
    options = get_provider_info()["config"]["sms_flow"]["options"]
    assert set(options) == set(DEFAULTS)
    for name, option in options.items():
        assert option["description"].endswith(".")
        assert isinstance(option["default"], str), name
        if option["example"] is not None:
            parser = configparser.ConfigParser()
            parser.read_string(f"[sms_flow]\n{name} = {option['example']}\n")
            assert parser.get("sms_flow", name) == option["example"]
