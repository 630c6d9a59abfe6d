"""A mapping of columns: an id in any case, and a suggestion where a name is wrong."""

from typing import Any

import pytest

from airflow_sms_flow.core.column_map import chosen_columns, read_columns
from airflow_sms_flow.core.errors import InvalidInput


def test_a_mapping_may_come_from_a_form() -> None:
    """As JSON; an empty field means all columns."""
    assert read_columns('{"id": "customer_id"}') == read_columns({"id": "customer_id"})
    assert read_columns(None) is read_columns("") is read_columns("None") is None


@pytest.mark.parametrize("wrong", ["id=x", ["id"], {"id": 5}, {"id": ""}, {"mobilePhone": "cell"}, 7])
def test_what_is_no_mapping_with_an_id_is_refused(wrong: Any) -> None:
    """At DAG parse."""
    with pytest.raises(InvalidInput) as caught:
        read_columns(wrong)
    assert caught.value.field == "columns"


def test_without_a_mapping_all_columns_are_taken() -> None:
    """Under their own names."""
    assert chosen_columns(None, ["id", "x"]) == {"id": "id", "x": "x"}


@pytest.mark.parametrize(
    ("columns", "names", "words"),
    [
        ({"id": "customer_id"}, ["CUSTOMER_ID"], "did you mean CUSTOMER_ID"),
        ({"id": "ID", "x": "cel"}, ["ID", "cell"], "did you mean cell"),
        ({"id": "ID", "x": "zzz"}, ["ID", "cell"], "it has ID, cell"),
        (None, ["key", "cell"], "no column id, only key, cell"),
        (None, ["id", "id"], "more than once"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_what_is(columns: Any, names: list[str], words: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match=words):
        chosen_columns(columns, names)


@pytest.mark.parametrize("columns", [None, {"id": "2025550133"}, {"id": "bob"}])
def test_the_first_row_of_a_file_without_names_is_not_shown(columns: Any) -> None:
    """It is somebody's, and the error goes into a log."""
    for names in (["7", "Bob", "+1 202 555 0132"], ["7", "Bob", "Bob", "+1 202 555 0132"]):
        with pytest.raises(InvalidInput) as caught:
            chosen_columns(columns, names)
        assert "Bob" not in str(caught.value)
        assert "0132" not in str(caught.value)
