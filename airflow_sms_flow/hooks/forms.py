"""The connection form: its Test button, and its fields as Airflow 3.1 asks for them.

The fields themselves are declared once, in provider_info, which Airflow 3.2 and later read by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from airflow_sms_flow.provider_info import get_provider_info


def form_widgets(conn_type: str) -> dict[str, Any]:
    """One text field per `conn-fields` entry. Airflow 3.1 puts in mocks of absent libraries."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import StringField

    return {
        name: StringField(field["label"], description=field["description"], widget=BS3TextFieldWidget())
        for name, field in _declared(conn_type)["conn-fields"].items()
    }


def field_behaviour(conn_type: str) -> dict[str, Any]:
    """Hidden, renamed and explained standard fields."""
    behaviour = _declared(conn_type)["ui-field-behaviour"]
    return {
        "hidden_fields": behaviour["hidden-fields"],
        "relabeling": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
    }


def _declared(conn_type: str) -> dict[str, Any]:
    declared: list[dict[str, Any]] = get_provider_info()["connection-types"]
    return next(entry for entry in declared if entry["connection-type"] == conn_type)


def check_result(conn_id: str, open_client: Callable[..., Any]) -> tuple[bool, str]:
    """What the Test button shows: the client's own words, or what is wrong. Somebody waits: within seconds.

    Airflow tests under a made-up connection id, so that id is left out. An error that is not ours may carry
    an address with a secret: of that, only the kind is shown.
    """
    from airflow_sms_flow.clients.vibes import Patience
    from airflow_sms_flow.core.errors import SmsFlowError

    try:
        with closing(open_client(timeout=(5.0, 10.0), patience=Patience(attempts=2, seconds=15))) as client:
            return True, client.check()
    except SmsFlowError as error:
        return False, str(error).removeprefix(f"connection {conn_id!r}, ")
    except Exception as error:  # a stranger's text may carry the address, and that a secret
        return False, f"the test failed with {type(error).__name__}"
