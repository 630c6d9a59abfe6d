"""The README shows nothing that is not run: by a test named here, or by this file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: Each command of the README, and who runs it.
RUN_BY = {
    "make demo": "tests/e2e/test_demo.py",
    "make ui": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "make lint types": ".ci/run",
    "make bench": "tests/benchmarks/test_benchmarks_start.py",
    "pip install -c constraints.txt .": "tests/e2e/test_install.py",
    "airflow backfill create --dag-id sms_campaign --from-date 2026-11-05 --to-date 2026-11-08": (
        "tests/e2e/test_backfill.py"
    ),
    "python -m airflow_sms_flow in-doubt": "tests/test_main.py",
    'python -m airflow_sms_flow settle "once:welcome" --as not-sent': "tests/test_main.py",
    'python -m airflow_sms_flow history "+1 202 555 0132"': "tests/test_main.py",
    "python -m airflow_sms_flow clean": "tests/test_main.py",
    "python -m airflow_sms_flow callbacks register --list 1201 --campaign NEWS1201": (
        "tests/e2e/test_callbacks.py"
    ),
    "python -m airflow_sms_flow callbacks list": "tests/operators/test_register_callbacks.py",
    'python -m airflow_sms_flow report "once:welcome" --every 1h': "tests/test_main.py",
    "python -m airflow_sms_flow.sandbox --port 8049": "tests/sandbox/test_sandbox_panel.py",
}


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    return [line.strip() for block in code_blocks("bash") for line in block.splitlines() if line.strip()]


def test_every_command_has_somebody_who_runs_it() -> None:
    """A command that nobody runs rots."""
    assert set(commands()) == set(RUN_BY)


@pytest.mark.parametrize("runner", sorted(set(RUN_BY.values())))
def test_whoever_is_named_exists(runner: str) -> None:
    """The table above is no wishful thinking."""
    assert (ROOT / runner).is_file()


def test_the_first_dag_is_twenty_lines_and_parses() -> None:
    """What a stranger copies first makes a DAG with the three tasks in a row."""
    (source,) = code_blocks("python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    module: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), module)
    extract: Any = module["extract"]
    assert {task.task_id: task.downstream_task_ids for task in extract.dag.tasks} == {
        "extract": {"prepare"},
        "prepare": {"send"},
        "send": set(),
    }
