"""One real Airflow for all tests of a file, as talkative as it can be."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.real_airflow import RealAirflow, real_airflow

SETTINGS = {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    # Triggers' arguments in clear, so that a test may read them.
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__SMS_FLOW__MARKETO_POLL_SECONDS": "1",
    "AIRFLOW__SMS_FLOW__OPT_IN_POLL_SECONDS": "2",
}
WORLD = {
    "leads": 0,
    "event_delay_seconds": 0.0,
    "campaign_start_seconds": 0.0,
    "export_queued_seconds": 0.1,
    "export_processing_seconds": 0.1,
    "opt_in_window_seconds": 5.0,
    "answer_seconds": 1.0,
    "share_landline": 0.0,
}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """Both processes; they end with the file, also when somebody ends those early."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the clean-up is not to be cut short
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)
    with real_airflow(tmp_path_factory.mktemp("e2e"), SETTINGS) as running:
        running.panel.call("POST", "reset", WORLD)
        yield running
