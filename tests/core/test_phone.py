"""Phones are what the library says, for every input; and they are never shown whole."""

import pandas as pd
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.phone import country_to_region, mask_phone, normalise_phones

REGIONS = st.sampled_from(["US", "CA", "GB", "DE", "MX", "BB", "IT", "JP"])
PHONE_LIKE = st.text(alphabet="0123456789+-() .x/\t\u00a0\uff11ext;,", max_size=30)
NANP = st.from_regex(
    r"(\+?1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-]?[0-9]{3}[ .-]?[0-9]{4}( ?x ?[0-9]{1,4})?", fullmatch=True
)
NUMBERS = st.lists(st.one_of(st.none(), NANP, PHONE_LIKE, st.text(max_size=300)), max_size=20)


def by_the_library(number: str | None, region: str | None) -> str | None:
    """The definition: parse, is_valid_number, E.164; missing where any refuses."""
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def as_list(numbers: pd.Series) -> list[str | None]:
    return [None if missing else value for value, missing in zip(numbers, numbers.isna(), strict=True)]


@settings(deadline=None, max_examples=300)
@given(NUMBERS, REGIONS)
def test_every_number_equals_what_the_library_says(numbers: list[str | None], region: str) -> None:
    """parse, is_valid_number and E.164 decide, element by element."""
    found = as_list(normalise_phones(pd.Series(numbers, dtype=object), region))
    assert found == [None if number is None else by_the_library(number, region) for number in numbers]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.one_of(NANP, PHONE_LIKE), st.one_of(st.none(), REGIONS)), max_size=20))
def test_each_number_is_read_in_its_own_region(rows: list[tuple[str, str | None]]) -> None:
    """With a Series of regions each number has its own; without one only +numbers are read."""
    numbers = pd.Series([number for number, _ in rows], dtype=object)
    regions = pd.Series([region for _, region in rows], dtype=object)
    assert as_list(normalise_phones(numbers, regions)) == [by_the_library(*row) for row in rows]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("310-1234", "+13101234"),
        ("4155551234, 4155559876", None),
        ("(530) 583-6985 x302/x2303", "+15305836985"),
        ("202\u00a0555\u00a00132", "+12025550132"),
        ("", None),
        ("   ", None),
        ("2" * 251, None),
        ("+44 20 7946 0000", "+442079460000"),
    ],
)
def test_the_known_traps_come_out_as_the_library_decides(number: str, expected: str | None) -> None:
    """The facts' list of inputs that break the obvious shortcuts."""
    assert as_list(normalise_phones(pd.Series([number]))) == [expected]


def test_index_and_name_stay_and_missing_stays_missing() -> None:
    """The result lines up with what was given, whichever word for missing stood there."""
    numbers = pd.Series(
        ["202-555-0132", None, float("nan"), pd.NA], index=[7, 3, 3, 1], name="mobilePhone", dtype=object
    )
    found = normalise_phones(numbers)
    assert found.index.tolist() == [7, 3, 3, 1]
    assert found.name == "mobilePhone"
    assert as_list(found) == ["+12025550132", None, None, None]


@pytest.mark.parametrize("region", ["XX", "us", "", "001"])
def test_an_impossible_region_is_refused(region: str) -> None:
    """A region that the library does not know would lose everybody without a word."""
    with pytest.raises(InvalidInput, match="two-letter region") as caught:
        normalise_phones(pd.Series(["202-555-0132"]), region)
    assert caught.value.field == "region"
    with pytest.raises(InvalidInput):
        normalise_phones(pd.Series(["202-555-0132"]), pd.Series([region]))


def test_regions_of_another_index_are_refused() -> None:
    """Regions that do not line up would be read for other people's numbers."""
    with pytest.raises(InvalidInput, match="same index"):
        normalise_phones(pd.Series(["202-555-0132"]), pd.Series(["US"], index=[1]))


@pytest.mark.parametrize("numbers", [[2025550132], [2025550132.0], ["202-555-0132", 5]])
def test_numbers_that_are_not_text_are_refused_without_showing_them(numbers: list[object]) -> None:
    """202555013.0 read as text would be somebody else's number."""
    with pytest.raises(InvalidInput, match="as text") as caught:
        normalise_phones(pd.Series(numbers))
    assert "2025550132" not in str(caught.value)


def test_a_masked_number_keeps_its_ends_only() -> None:
    """Logs see the first two and the last four characters, and nothing of what is no number."""
    assert mask_phone("+12025550132") == "+1******0132"
    assert mask_phone("+442079460000") == "+4*******0000"
    assert mask_phone("+2902000") == "******"
    assert mask_phone("ada@example.com") == "******"


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("US", "US"), ("usa", "US"), (" U.S.A. ", "US"), ("United States", "US"), ("America", "US"),
        ("Canada", "CA"), ("CAN", "CA"), ("UK", "GB"), ("Great Britain", "GB"), ("Deutschland", "DE"),
        ("Côte d'Ivoire", "CI"), ("Mexico", "MX"), ("México", "MX"), ("Trinidad and Tobago", "TT"),
        ("Turkey", "TR"), ("CT", None), ("Narnia", None), ("", None), ("Antarctica", None), ("world", None),
    ],
)  # fmt: skip
def test_a_country_typed_by_people_gives_its_region(country: str, region: str | None) -> None:
    """Codes, names and usual other names; what is not understood is None, never a guess."""
    assert country_to_region(country) == region


def test_every_region_of_the_library_is_understood_by_its_code() -> None:
    """An ISO-2 code means its own region, whatever else it might abbreviate."""
    assert {
        country_to_region(code) for code in phonenumbers.SUPPORTED_REGIONS
    } == phonenumbers.SUPPORTED_REGIONS
