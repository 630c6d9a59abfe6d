"""One send that is killed ten times: twice as a task of a real Airflow, then in bare processes."""

from __future__ import annotations

import random
from pathlib import Path

import psutil
import pytest

from airflow_sms_flow.core.delivery import StepName
from tests.torture import faults
from tests.torture.airflow_scene import airflow_task, ledger_in
from tests.torture.crowd import CONCURRENCY
from tests.torture.scene import Scene, Vendor
from tests.torture.seeds import FIXED_SEED
from tests.torture.verdict import judge

PEOPLE = 960


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [FIXED_SEED], ids=str)
def test_a_send_killed_ten_times_by_airflow_and_otherwise_reaches_everybody_once(
    vendor: Vendor, tmp_path: Path, seed: int
) -> None:
    """A killed task is retried by Airflow, one marked failed leaves nothing in doubt, a cleared one goes on;
    and it makes no difference who goes on."""
    chance, home = random.Random(seed), tmp_path / "airflow"
    scene = Scene(vendor, ledger_in(home), tmp_path, StepName.SEND, PEOPLE, faults.NONE)
    with airflow_task(scene, home) as task:
        task.begin()
        first = task.kill(chance.randint(1, 80))
        second = task.kill(chance.randint(1, 80), other_than=first)  # Airflow's own retry
        task.wait_until("failed")
        task.clear()
        stopped = task.sending_process(other_than=second)
        scene.wait_for(scene.reached() + chance.randint(1, 80))
        task.mark_failed()
        psutil.wait_procs([stopped], timeout=30)
        assert not stopped.is_running()
        assert scene.claimed_by(stopped.pid) == 0, "Airflow's kill signal left something in doubt"
        scene.besiege(chance, kills=8)
        task.clear()
        task.wait_until("success")
        verdict = judge(scene, task.report(), task.results())
    assert verdict.problems == (), verdict
    assert verdict.kills == 10
    assert verdict.kills_mid_send >= 8, "killed too late to prove anything"
    assert verdict.in_doubt <= 10 * CONCURRENCY
    assert verdict.failed == 0
