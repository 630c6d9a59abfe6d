"""Senders that are killed again and again, by a vendor that fails in every way: nobody twice, nobody lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from airflow_sms_flow.core.delivery import StepName
from tests.torture import faults
from tests.torture.scene import Scene, Vendor
from tests.torture.seeds import FIXED_SEED, FRESH_SEED
from tests.torture.verdict import judge

PEOPLE, KILLS = 128, 2


@pytest.mark.parametrize(
    ("step", "seed"),
    [
        (StepName.SEND, FIXED_SEED),
        (StepName.SEND, FRESH_SEED),
        (StepName.SUBSCRIBE, FRESH_SEED),
        (StepName.UNSUBSCRIBE, FRESH_SEED),
    ],
    ids=str,
)
def test_kills_and_faults_reach_everybody_at_most_once_and_lose_nobody(
    vendor: Vendor, tmp_path: Path, sqlite_address: str, step: StepName, seed: int
) -> None:
    """The vendor's own record decides; Send reports whom it holds, the other steps miss nobody."""
    scene = Scene(vendor, sqlite_address, tmp_path, step, PEOPLE, faults.ALL)
    scene.besiege(random.Random(seed), KILLS)
    verdict = judge(scene, scene.finish())
    assert verdict.problems == (), verdict
    assert verdict.kills_mid_send >= 1, "killed too late to prove anything"
