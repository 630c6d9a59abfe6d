"""The Vibes list of a trigger form: a choice where lists are configured, a text where none are."""

import pytest
from jsonschema import ValidationError, validate

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.params import list_id_param

OPTION = "AIRFLOW__SMS_FLOW__LISTS"


def test_configured_lists_are_offered_by_name_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is taken."""
    monkeypatch.setenv(OPTION, '{"1202": "Weekly offers", "1201": "Store news"}')
    param = list_id_param("1201", description="Only its members are texted.")
    assert param.value == "1201"
    assert param.schema["enum"] == ["1202", "1201"]
    assert param.schema["values_display"] == {"1202": "Weekly offers (1202)", "1201": "Store news (1201)"}
    assert param.schema["title"] == "Vibes list"
    assert param.description == "Only its members are texted."
    with pytest.raises(ValidationError):
        validate("9999", param.schema)


def test_a_default_that_is_not_configured_gives_way_to_the_first_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A form must not start with a list that it would refuse."""
    monkeypatch.setenv(OPTION, '{"7": "Ours"}')
    assert list_id_param("1201").value == "7"


@pytest.mark.parametrize("configured", ["", "{}"])
def test_without_configured_lists_the_field_is_free_but_not_empty(
    monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    """Nothing needs to be configured to begin."""
    monkeypatch.setenv(OPTION, configured)
    param = list_id_param("1201")
    assert param.value == "1201"
    validate("9999", param.schema)
    with pytest.raises(ValidationError):
        validate("", param.schema)


@pytest.mark.parametrize("configured", ["1201", '["1201"]', '{"1201": ""}', "{1201: 'x'}"])
def test_a_mistake_in_the_configuration_names_the_option(
    monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    """It shows as the DAG's import error."""
    monkeypatch.setenv(OPTION, configured)
    with pytest.raises(InvalidInput, match=r"\[sms_flow\] lists=.*JSON object"):
        list_id_param("1201")
