"""The connection form: its fields for Airflow 3.1, and its Test button."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.hooks import forms
from airflow_sms_flow.hooks.marketo import MarketoHook
from airflow_sms_flow.hooks.vibes import VibesHook


@pytest.fixture
def _form_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two libraries that Airflow 3.1 itself replaces by mocks where they are not installed."""

    def string_field(label: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(label=label, **options)

    modules = {
        "flask_appbuilder": SimpleNamespace(),
        "flask_appbuilder.fieldwidgets": SimpleNamespace(BS3TextFieldWidget=object),
        "wtforms": SimpleNamespace(StringField=string_field),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("_form_libraries")
def test_airflow_3_1_gets_one_widget_per_declared_field() -> None:
    """The same names and labels as later Airflows read from the provider's metadata."""
    widgets = VibesHook.get_connection_form_widgets()
    assert {name: widget.label for name, widget in widgets.items()} == {
        "company_key": "Company key",
        "region": "Region",
        "source_code": "Source code",
        "events_per_second": "Events a second",
        "calls_per_second": "Other calls a second",
        "callback_secrets": "Callback secrets",
    }
    assert MarketoHook.get_connection_form_widgets() == {}


@pytest.mark.parametrize("hook", [VibesHook, MarketoHook])
def test_both_hooks_declare_the_methods_themselves(hook: type) -> None:
    """Airflow looks for them in the class's own body, not in its parents."""
    assert {"get_connection_form_widgets", "get_ui_field_behaviour", "test_connection"} <= set(vars(hook))


def test_port_stays_visible() -> None:
    """With a hidden port, Airflow 3.3's Test button cannot work for a saved connection (facts 1)."""
    for hook in (VibesHook, MarketoHook):
        assert "port" not in hook.get_ui_field_behaviour()["hidden_fields"]


class Client:
    """Answers a check as it is told, and remembers that it was closed."""

    def __init__(self, outcome: str | Exception) -> None:
        self.outcome, self.closed = outcome, False

    def check(self) -> str:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ("all well", (True, "all well")),
        (ConfigError("connection 'x', login: wrong"), (False, "login: wrong")),
        (
            RuntimeError("https://api.example.com?secret=hunter2"),
            (False, "the test failed with RuntimeError"),
        ),
    ],
)
def test_the_button_shows_our_words_and_only_the_kind_of_a_foreign_error(
    outcome: str | Exception, shown: tuple[bool, str]
) -> None:
    """A library's exception may carry an address with a secret; the client is closed in any case."""
    client = Client(outcome)
    assert forms.check_result("x", lambda **_: client) == shown
    assert client.closed
