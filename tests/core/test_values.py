"""Values as people type them: read strictly, refused by field, value and remedy."""

import pytest

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_choice, read_flag, read_id, read_ids


@pytest.mark.parametrize(
    ("value", "flag"),
    [(True, True), (False, False), ("True", True), ("false", False), (" TRUE ", True), ("False\n", False)],
)
def test_true_and_false_are_read_also_as_text(value: object, flag: bool) -> None:
    """Jinja makes text of a Param."""
    assert read_flag("dry_run", value) is flag


@pytest.mark.parametrize("value", ["yes", "no", "1", "0", "", "None", "on", 1, 0, None, [], "tru e"])
def test_anything_else_is_no_flag(value: object) -> None:
    """A "no" that is taken for a "yes" texts people."""
    with pytest.raises(InvalidInput, match=r"dry_run=.*: must be true or false"):
        read_flag("dry_run", value)


def test_a_choice_is_read_to_the_letter() -> None:
    """Another case, a blank or another type is none of the choices."""
    assert read_choice("on_backfill", "send", ("skip", "send")) == "send"
    for value in ("Send", "send ", "", None, True):
        with pytest.raises(InvalidInput, match="must be one of: skip, send"):
            read_choice("on_backfill", value, ("skip", "send"))


@pytest.mark.parametrize(
    ("value", "read"), [("1201", "1201"), (1201, "1201"), (" 1201 ", "1201"), ("a-b", "a-b")]
)
def test_an_id_may_be_text_or_number(value: object, read: str) -> None:
    """As a vendor's page shows it."""
    assert read_id("list_id", value, "give one") == read


@pytest.mark.parametrize("value", ["", "  ", "None", None, True, 12.0, []])
def test_a_missing_id_is_refused(value: object) -> None:
    """Jinja writes an empty Param as "None"."""
    with pytest.raises(InvalidInput, match=r"list_id=.*: give one"):
        read_id("list_id", value, "give one")


@pytest.mark.parametrize(
    ("typed", "ids"),
    [
        ((), ()),
        ("", ()),
        (None, ()),
        ("None", ()),
        (1201, ("1201",)),
        ("1201", ("1201",)),
        ("1201, 1202,1201", ("1201", "1202")),
        ([1201, "1202 "], ("1201", "1202")),
    ],
)
def test_several_ids_are_read_however_they_are_typed(typed: object, ids: tuple[str, ...]) -> None:
    """A list, one alone, or the text of a form; each once."""
    assert read_ids("lists", typed, "give ids") == ids


@pytest.mark.parametrize("typed", ["1201,", [None], [""], {}, True, 1.5])
def test_ids_that_cannot_be_meant_are_refused(typed: object) -> None:
    """A slip of the pen is not passed over."""
    with pytest.raises(InvalidInput, match="lists"):
        read_ids("lists", typed, "give ids")
