"""Conditions are data: what can never work is refused when the DAG is parsed, and nothing is evaluated."""

import json
from typing import Any

import pytest

from airflow_sms_flow.core.conditions import Condition, read_conditions
from airflow_sms_flow.core.errors import InvalidInput


def test_conditions_come_as_lists_or_as_json() -> None:
    """A DAG file writes tuples, a form JSON; both mean the same."""
    written = [("country", "in", ["US", "CA"]), ("score", ">=", 50), ("email", "is missing")]
    read = read_conditions(written)
    assert read == (
        Condition("country", "in", ("US", "CA")),
        Condition("score", ">=", 50),
        Condition("email", "is missing"),
    )
    assert read_conditions(json.dumps(written)) == read
    assert read_conditions(read) == read


@pytest.mark.parametrize("nothing", [None, "", " ", "None", [], (), "[]"])
def test_an_empty_field_of_a_form_is_no_condition(nothing: object) -> None:
    """Jinja writes an empty Param as "" or "None"."""
    assert read_conditions(nothing) == ()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("country = 'US'", "no JSON"),
        ({"country": "US"}, "give conditions such as"),
        (("country", "=", "US"), "put it into a list"),
        ([["country"]], "give conditions such as"),
        ([("country", "==", "US")], "did you mean '='"),
        ([("country", "matches", "U.*")], "the operators are"),
        ([("country", ["="], "US")], "the operators are"),
        ([("", "=", "US")], "the column comes first"),
        ([("country", "=")], "needs a value"),
        ([("country", "=", ["US"])], 'write "in"'),
        ([("country", "=", "")], "is missing"),
        ([("country", "in", "US")], "needs a list"),
        ([("country", "in", [])], "needs a list"),
        ([("country", "in", ["US", 1])], "several kinds"),
        ([("flag", "in", [True, 1])], "several kinds"),
        ([("country", "in", ["US", None])], "not NoneType"),
        ([("score", ">", "50")], "leave out the quotes"),
        ([("flag", "<", True)], "no order"),
        ([("score", ">", float("nan"))], "not float"),
        ([("country", "contains", 1)], "needs the text"),
        ([("country", "is missing", "US")], "takes no value"),
    ],
)
def test_what_can_never_work_is_refused_with_a_remedy(where: Any, words: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput) as caught:
        read_conditions(where)
    assert caught.value.field == "where"
    assert words in caught.value.remedy


def test_an_error_never_repeats_the_value_that_was_compared_with() -> None:
    """It might be somebody's number."""
    with pytest.raises(InvalidInput) as caught:
        read_conditions([("mobilePhone", ">", "2025550132")])
    assert "2025550132" not in str(caught.value)
