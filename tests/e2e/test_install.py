"""`pip install -c constraints.txt .` into an empty environment: the built package is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
#: Each needs a file that is no module of ours: the phones' page, the ledger's migrations, the type marker.
LOOK_INSIDE = """
from importlib.resources import files
import airflow_sms_flow
assert "site-packages" in airflow_sms_flow.__file__, airflow_sms_flow.__file__
inside = files("airflow_sms_flow")
assert inside.joinpath("py.typed").is_file()
assert inside.joinpath("sandbox", "page.html").is_file()
from airflow_sms_flow.ledger import Ledger
Ledger.open("sqlite:///ledger.db").close()
"""


def run(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"AIRFLOW_HOME": str(cwd / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    return ran.stdout


def test_the_readme_s_install_gives_airflow_the_provider(tmp_path: Path) -> None:
    """What is installed is what the tests ran on: connection types, command line, every file."""
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    # Python itself compiles the little of it that this test imports.
    options = ("--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-compile")
    constraints = str(ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", *options, "-c", constraints, str(ROOT), cwd=tmp_path)
    run(python, "-c", LOOK_INSIDE, cwd=tmp_path)
    hooks = run(python, "-m", "airflow", "providers", "hooks", "--output", "plain", cwd=tmp_path)
    assert "airflow_sms_flow.hooks.vibes.VibesHook" in hooks
    assert "airflow_sms_flow.hooks.marketo.MarketoHook" in hooks
    assert "settle" in run(python, "-m", "airflow_sms_flow", "--help", cwd=tmp_path)
