"""What deferrable sensors have in common: what their trigger hands back, and how they time out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from airflow.sdk import BaseSensorOperator


def read_times(event: Any, *names: str) -> list[datetime]:
    """The times that the trigger hands back under these names. What is not our trigger's event is no
    success."""
    from airflow.providers.common.compat.sdk import AirflowException

    if isinstance(event, dict) and event.get("status") == "ready":
        try:
            found = [datetime.fromisoformat(event[name]) for name in names]
        except (KeyError, TypeError, ValueError):
            found = []
        if found and all(time.tzinfo is not None for time in found):
            return found
    raise AirflowException(
        "The trigger fired an event that this sensor does not know: make sure that triggerer and workers run "
        "the same version of airflow-sms-flow, and clear this task"
    )


def time_out(sensor: BaseSensorOperator, what: str) -> NoReturn:
    """`what` did not come true. Airflow does not apply a sensor's own timeout to its deferrals."""
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException

    text = f"{what} within {timedelta(seconds=sensor.timeout)}"
    if sensor.soft_fail or sensor.never_fail:
        raise AirflowSkipException(f"{text}: skipped, as soft_fail or never_fail asks")
    raise AirflowSensorTimeout(text)
