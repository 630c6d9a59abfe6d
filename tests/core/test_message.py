"""A text is parsed once, checked against the columns, and never evaluates what is in a person's data."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.message import Rendered, SmsMessage, Unsendable, neutralise

COLUMNS = ["id", "firstName", "company", "phone", "phone_raw"]
BRACES = st.text(st.sampled_from("{}% a-x\x00\n"), max_size=12)


def text_for(message: SmsMessage, names: dict[str, str] | None = None, **record: object) -> str:
    """Render for one person; other columns are missing."""
    rendered = message.bind(COLUMNS, names).render({**dict.fromkeys(COLUMNS), **record})
    assert isinstance(rendered, Rendered)
    return rendered.text


def test_tokens_work_by_display_name_and_by_rest_name() -> None:
    """Also in other case, with spaces, and in the company family."""
    message = SmsMessage(
        "{{lead.First Name}} {{lead.firstName}} {{ Lead . first name }} {{company.Company Name}}"
    )
    assert text_for(message, firstName="Ada", company="Acme") == "Ada Ada Ada Acme"


def test_an_empty_field_prints_its_default_or_nothing() -> None:
    """Every word for missing counts as empty."""
    message = SmsMessage("Hi {{lead.First Name:default=there, you}}{{company.company}}!")
    for empty in (None, "", "  ", float("nan"), pd.NA, pd.NaT, np.nan):
        assert text_for(message, firstName=empty, company=empty) == "Hi there, you!"


@pytest.mark.parametrize(
    ("value", "printed"),
    [(5, "5"), (5.0, "5"), (np.float64(7.0), "7"), (np.int64(8), "8"), (2.5, "2.5"), (True, "true"),
     (np.False_, "false"), ("None", "None"), ("O'Brien & Søn", "O'Brien & Søn")],
)  # fmt: skip
def test_values_print_as_people_write_them(value: object, printed: str) -> None:
    """Whole numbers without ".0", booleans in lower case, text as it stands."""
    assert text_for(SmsMessage("{{lead.firstName}}"), firstName=value) == printed


def test_my_tokens_come_from_the_dict_and_are_not_read_again() -> None:
    """A value that looks like a token is printed, with its braces made harmless."""
    message = SmsMessage(
        "{{my.offer}} {{my.none:default=x}} {{my.n}}", my={"Offer": "20% {{lead.firstName}}", "n": 5}
    )
    assert text_for(message, firstName="Ada") == "20% ((lead.firstName)) x 5"


def test_marketos_display_names_win_over_the_usual_ones() -> None:
    """The subscription may have renamed a field; what it calls so decides, or the token is unknown."""
    message = SmsMessage("{{lead.Company Name}} {{lead.Work Phone}} {{lead.phone}}")
    names = {"Company Name": "firstName", "Work Phone": "phone_raw", "phone": "phone_raw"}
    assert text_for(message, names, firstName="Ada", company="Acme", phone_raw="x5") == "Ada x5 x5"
    with pytest.raises(InvalidInput, match="billingCompany"):
        SmsMessage("{{lead.Company}}").bind(COLUMNS, {"Company": "billingCompany"})
    with pytest.raises(InvalidInput, match="only in case"):
        SmsMessage("{{lead.nick}}").bind(COLUMNS, {"Nick": "a", "NICK": "b"})


def test_unknown_tokens_are_all_named_with_what_there_is() -> None:
    """One error lists them, says which field is not extracted, and offers near names."""
    message = SmsMessage("{{lead.Last Name}} {{lead.frstName}} {{lead.First Name}}")
    with pytest.raises(InvalidInput) as caught:
        message.bind(COLUMNS)
    for word in ("(field 'lastName')", "did you mean 'firstName'", "'phone_raw'", "message="):
        assert word in str(caught.value)
    assert "{{lead.First Name}}" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "Hi {{lead.First Name", "Hi {{lead.First Name}", "{{lead.a{{lead.b}}}}", "{{{lead.a}}}",
     "{{ds}}", "{{system.date}}", "{{lead.}}", "{{}}", "{{my.x}}", "{% if a %}", "a" * 901, None],
)  # fmt: skip
def test_a_text_that_cannot_work_is_refused_when_it_is_written(text: Any) -> None:
    """At DAG parse: no text, unclosed, unknown family, a `my` without value, too long without any token."""
    with pytest.raises(InvalidInput) as caught:
        SmsMessage(text)
    assert caught.value.field == "message"


def test_my_values_are_text() -> None:
    """A list or a boolean is a mistake, not a text."""
    with pytest.raises(InvalidInput, match=r"my\['x'\]"):
        SmsMessage("{{my.x}}", my={"x": True})


def test_more_than_900_characters_or_none_are_reasons_and_no_errors() -> None:
    """One person's long name must not stop the others."""
    bound = SmsMessage("{{lead.firstName}}").bind(COLUMNS)
    assert bound.columns == ("firstName",)
    assert isinstance(bound.render({"firstName": "a" * 900}), Rendered)
    assert bound.render({"firstName": "a" * 901}) is Unsendable.TOO_LONG
    assert bound.render({"firstName": None}) is Unsendable.EMPTY_TEXT
    assert (Unsendable.TOO_LONG, Unsendable.EMPTY_TEXT) == ("too_long", "empty_text")


@given(st.lists(BRACES, min_size=2, max_size=4))
def test_no_liquid_survives_not_even_by_concatenation(values: list[str]) -> None:
    """Values, literals and values again: nothing that opens a tag is left, and a second pass is idle."""
    columns = [f"c{number}" for number in range(len(values))]
    text = "x{" + "".join(
        f"{{{{lead.{name}}}}}" if number else f"_{{{{lead.{name}}}}}" for number, name in enumerate(columns)
    )
    bound = SmsMessage(text + "} %}").bind(columns)
    rendered = bound.render(dict(zip(columns, values, strict=True)))
    assert isinstance(rendered, Rendered)
    assert not any(tag in rendered.text for tag in ("{{", "{%", "}}", "%}", "\x00"))
    assert neutralise(rendered.text) == rendered.text


@given(st.text(max_size=100))
def test_what_is_no_tag_is_printed_as_it_is(value: str) -> None:
    """Neutralising touches tags and control characters only."""
    if neutralise(value) == value and value.strip():
        assert text_for(SmsMessage("<{{lead.firstName}}>"), firstName=value) == f"<{value}>"


def test_a_message_is_a_value_that_travels() -> None:
    """Equal, hashable, picklable; its repr shows no text; its fingerprint ignores the order of `my`."""
    one = SmsMessage("Secret {{my.a}}{{my.b}}", my={"a": "1", "b": "2"})
    two = SmsMessage("Secret {{my.a}}{{my.b}}", my={"b": "2", "a": "1"})
    assert one == two == pickle.loads(pickle.dumps(one))
    assert len({one, two}) == 1
    assert one.fingerprint == two.fingerprint != SmsMessage("Secret").fingerprint
    assert "Secret" not in repr(one)
    assert SmsMessage("Hi").fingerprint == "ebee60392eb04106697952dd45b52a7cdbd74545f285bc6b0e6a770a9c2a4677"


def test_a_message_file_is_utf8_and_its_last_line_end_is_no_text(tmp_path: Path) -> None:
    """What an editor adds does not cost a character."""
    file = tmp_path / "hello.sms"
    file.write_bytes("\ufeffHëllo {{lead.First Name}}\r\n\n".encode())
    assert SmsMessage.from_file(file).text == "Hëllo {{lead.First Name}}"
    file.write_bytes(b"\xff\xfe")
    for path in (file, tmp_path / "missing.sms"):
        with pytest.raises(InvalidInput, match="UTF-8"):
            SmsMessage.from_file(path)


def test_importing_the_message_imports_no_heavy_library() -> None:
    """A DAG file has it at its top."""
    heavy = "{'pandas', 'numpy', 'pyarrow', 'phonenumbers', 'requests', 'sqlalchemy', 'airflow'}"
    code = "import sys; from airflow_sms_flow import SmsMessage; SmsMessage('Hi'); "
    code += f"print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
