"""The measuring programs do not rot: each is run as `make bench` runs it, for a few seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted(Path(__file__).parent.glob("bench_*.py"))


@pytest.mark.airflow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_it_runs_and_prints_what_it_measured(program: Path, tmp_path: Path) -> None:
    """Whatever the numbers are: a slow machine is not a failure."""
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, str(program), "--quick"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(line.startswith(" ") or " ms" in line for line in done.stdout.splitlines()) >= 2
