"""A process that runs DAGs with `dag.test()`, one at a time, as it is told.

`dag.test()` wants the main thread and a metadata database of its own, which Airflow finds once, at import.
As a program this file is that process: it reads one JSON object a line, and answers with one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DAGS = Path(__file__).parents[2] / "dags"


@dataclass(frozen=True)
class DagProcess:
    """The caller's side."""

    process: subprocess.Popen[str]
    answers: IO[str]
    log: Path

    def start(self, dag_id: str, logical_date: str | None = None, **conf: Any) -> None:
        """Begin one run; `finish` waits for it."""
        assert self.process.stdin is not None
        order = {"dag_id": dag_id, "logical_date": logical_date, "conf": conf}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """`{"state", "tasks": {task_id: state}, "xcoms": {task_id: {key: value}}}` of the run begun; the
        ids of mapped tasks are `send[0]` and so on."""
        line = self.answers.readline()
        assert line, f"the process ended by itself:\n{self.log.read_text()[-5000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, dag_id: str, logical_date: str | None = None, **conf: Any) -> dict[str, Any]:
        """One run from beginning to end."""
        self.start(dag_id, logical_date, **conf)
        return self.finish()


@contextmanager
def dag_process(home: Path, environment: Mapping[str, str]) -> Iterator[DagProcess]:
    """Start the process over an empty Airflow home; end it afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    ours = dict(os.environ) | dict(environment)
    ours |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    log = home / "output.log"
    reader, writer = os.pipe()
    with log.open("w") as output, os.fdopen(reader) as answers:
        process = subprocess.Popen(
            [sys.executable, __file__, str(writer)],
            env=ours,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(writer,),
        )
        os.close(writer)
        try:
            yield DagProcess(process, answers, log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()  # nobody needs what it would tidy up
            process.wait()


def _serve(answers: IO[str]) -> None:
    from datetime import timedelta

    import pendulum
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    for line in sys.stdin:
        order = json.loads(line)
        # Parsed anew, as for every task of a real Airflow: `dag.test()` leaves rendered values in the DAG.
        dag = DagBag(str(DAGS / f"{order['dag_id']}.py")).dags[order["dag_id"]]
        for task in dag.tasks:
            task.retry_delay = timedelta(seconds=0.1)
        date = order["logical_date"]
        dated = {"logical_date": pendulum.parse(date)} if date else {}
        run = dag.test(run_conf=order["conf"], **dated)
        tasks = {_name(ti): str(ti.state) for ti in run.get_task_instances()}
        answer = {"state": str(run.state), "tasks": tasks, "xcoms": _xcoms(run.dag_id, run.run_id)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _xcoms(dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    found: dict[str, dict[str, Any]] = {}
    query = select(XComModel).where(XComModel.dag_id == dag_id, XComModel.run_id == run_id)
    with create_session() as session:
        for row in session.scalars(query):
            value = json.loads(row.value) if isinstance(row.value, str) else row.value
            found.setdefault(_name(row), {})[row.key] = value
    return found


def _name(one: Any) -> str:
    """Of a mapped task each index by itself: `send[0]`."""
    return one.task_id if one.map_index < 0 else f"{one.task_id}[{one.map_index}]"


if __name__ == "__main__":
    _serve(os.fdopen(int(sys.argv[1]), "w"))
