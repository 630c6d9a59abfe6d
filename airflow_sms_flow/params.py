"""What DAG files take from the configuration: fields of a trigger form, and the pool of sending tasks."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from airflow_sms_flow.settings import offered_lists, pool


def list_id_param(default: str, **schema: Any) -> Param:
    """The Vibes list: a choice of those in `[sms_flow] lists`, or a free text where none are configured.

    `default` is what the form starts with; where it is not among the configured lists, the first of them is.
    """
    lists = offered_lists()
    title: dict[str, Any] = {"type": "string", "title": "Vibes list"}
    if not lists:
        return Param(default, **(title | {"minLength": 1} | schema))
    start = default if default in lists else next(iter(lists))
    shown = {list_id: f"{name} ({list_id})" for list_id, name in lists.items()}
    return Param(start, **(title | {"enum": list(lists), "values_display": shown} | schema))


def sending_pool() -> str:
    """`[sms_flow] pool`, or the default pool, which always exists: tasks of a missing pool wait for ever, and
    only the scheduler's log says so."""
    return pool()
