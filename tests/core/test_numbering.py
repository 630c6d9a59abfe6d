"""What is decided for whole columns is what the library says of each text, and follows its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata, PhoneNumberFormat

from airflow_sms_flow.core import numbering, numbering_plan
from airflow_sms_flow.core.phone import normalise_phones

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
KINDS = ("fixed_line", "mobile", "toll_free", "uan", "voip", "shared_cost", "personal_number", "premium_rate")
BEFORE = [
    "", "", "", " ", "(", "+", "Tel: ", "tel:", "Tél ", "#", "‪", "++", "(+", "x ", "＋", ";", "\n", "* ", "_",
]  # fmt: skip
BETWEEN = [
    "", "", "", "", "-", " ", ".", "/", "(", ")", ") ", " (", "[", "\u00a0", "\u2011", "\u2013", "--", "~",
    "x", "\t", ",", ";", "*", "ext", "\u200b", "\u00ad", "٣", "４", "\\", "+", "#", "\x00", "’",
]  # fmt: skip
AFTER = [
    "", "", "", " ", "x12", " ext. 345", "ext:7", " X 1234567", " extension 22", " extenſion 2", "#", "#12",
    " #1", " - 503#", "\n", ";", "‬", "a", "abc", " (home)", " x302/x2303", ";ext=3", ";phone-context=+44",
    ",,3", ",3", "_", "*", "+", "/", " x", "xt5", "extn9#", ", 4155559876", "\x00",
    "x123456789", "٣", " доб 4", "😀", "FLOWERS", "-Flow.er", "ab", "a b c", " mobile", "/xyz", " / x y z",
    "éa b", "#ab", "abc1", " (home", "Tax", "\nabc", "+abc",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def columns_of_any_length() -> Iterator[None]:
    """Short columns go the fast way too, and in pieces, or short tests would only see the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "_FEW", 0)
        patch.setattr(numbering, "_PIECE", 16)
        yield


def by_the_library(number: str, region: str | None) -> str | None:
    """The definition: parse, is_valid_number, E.164; missing where any refuses."""
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, PhoneNumberFormat.E164)


def assert_all_equal(rows: list[tuple[str, str | None]]) -> None:
    texts = pd.Series([text for text, _ in rows], dtype=object)
    regions = pd.Series([region for _, region in rows], dtype=object)
    found = normalise_phones(texts, regions)
    pairs = zip(rows, found.astype(object).where(found.notna(), None), strict=True)
    wrong = [(row, ours) for row, ours in pairs if ours != by_the_library(*row)]
    assert not wrong, wrong[:10]


def decided_without_the_library(texts: list[str], region: str = "US") -> list[bool]:
    column = pa.array(texts, pa.large_string())
    return [
        not one
        for one in numbering.e164(column, np.zeros(len(texts), np.intp), [region]).is_null().to_pylist()
    ]


@contextmanager
def metadata_changed(desc: object, **changes: object) -> Iterator[None]:
    """As if another release of the library said this. Its objects refuse the usual way to set anything."""
    before = {name: getattr(desc, name) for name in changes}
    caches = (numbering_plan.read_region, numbering_plan.regions_of)
    try:
        for name, value in changes.items():
            object.__setattr__(desc, name, value)
        for one in caches:
            one.cache_clear()
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(desc, name, value)
        for one in caches:
            one.cache_clear()


@st.composite
def digits(draw: st.DrawFn) -> str:
    """A number of some region, nearly right, with one of the prefixes that people put before it."""
    metadata = PhoneMetadata.metadata_for_region(draw(st.sampled_from(REGIONS)))
    kinds = [getattr(metadata, kind) for kind in KINDS]
    examples = [kind.example_number for kind in kinds if kind is not None and kind.example_number]
    number = draw(st.sampled_from(examples or ["5550132"]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(number)))
        number = number[:at] + draw(st.sampled_from("0123456789")) + number[at + draw(st.integers(0, 1)) :]
    code, trunk = str(metadata.country_code), metadata.national_prefix or "0"
    plus = f"+{code}"
    prefixes = ["", "", code, plus, plus, plus + trunk, trunk, trunk * 2, code + trunk, code * 2, plus + code]
    abroad = [f"00{code}", f"011{code}", f"00{plus}", f"{metadata.international_prefix or ''}{code}"]
    return draw(st.sampled_from(prefixes + abroad)) + number


@st.composite
def phone_like(draw: st.DrawFn) -> str:
    """Digits dressed as people, spreadsheets and attackers would."""
    number = draw(st.one_of(digits(), digits(), st.text("0123456789+", max_size=20)))
    between = st.sampled_from(BETWEEN) if draw(st.booleans()) else st.sampled_from(BETWEEN[:18])
    gaps = draw(st.lists(between, max_size=len(number)))
    dressed = "".join(one + gap for one, gap in zip(number, gaps, strict=False)) + number[len(gaps) :]
    return draw(st.sampled_from(BEFORE)) + dressed + draw(st.sampled_from(AFTER))


TEXTS = st.one_of(phone_like(), phone_like(), phone_like(), st.text(max_size=40), st.text(max_size=300))


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(TEXTS, st.one_of(st.sampled_from(["US", "CA", "GB"]), st.sampled_from(REGIONS)))))
def test_every_text_in_every_region_is_what_the_library_says(rows: list[tuple[str, str | None]]) -> None:
    """parse, is_valid_number and E.164 decide, in whichever of the library's regions."""
    assert_all_equal(rows)


@settings(deadline=None, max_examples=50)
@given(st.lists(TEXTS))
def test_without_a_region_only_numbers_with_a_plus_are_read(texts: list[str]) -> None:
    """A missing region is None to the library, which then has no rules but those of the calling code."""
    assert_all_equal([(text, None) for text in texts])


@pytest.mark.parametrize("region", ["US", "CA", "BB", "GB", "DE", "IT", "RU", "AU", "BR", None])
def test_what_breaks_shortcuts_is_what_the_library_says(region: str | None) -> None:
    """Each was wrong in some faster way that somebody thought of."""
    cores = [
        "3101234", "2465210123", "2465224567", "8766061234", "8766064567", "+1 1 415 555 0132", "14155550132",
        "1 1 4155550132", "114155550132", "430-1234", "(246) 430-1234", "(530) 583-6985",
        "4155551234, 4155559876",
        "011 44 20 7946 0000", "0044 20 7946 0000", "+44 (0)20 7946 0000", "44 20 7946 0000", "011 0 415 555",
        "+999 555 0132", "+2101234567", "+800 1234 5678", "+0 415 555 0132", "180020 020 7946 0000",
        "+39 06 6982 0000", "+390669820000", "06 6982 0000", "7 495 123 45 67", "8 (495) 123-45-67",
        "1-800-FLOWERS", "1800 MICROSOFT", "＋１４１５５５５０１３２", "٤١٥٥٥٥٠١٣٢", "415\u00a0555\u00a00132",
        "415\t555\t0132", "12", "1", "", "+", "+1", "+12", "+123", "000", "0" * 17, "2" * 251,
        "tel:2025550132;phone-context=+1", "2025550132;isub=1", "2025550132;ext=5", "\ud800 2025550132",
        " " * 240 + "2025550132", " " * 241 + "2025550132", "’" * 83 + "2025550132", "2025550132" + "’" * 100,
    ]  # fmt: skip
    assert_all_equal(
        [(before + core + after, region) for core in cores for before in set(BEFORE) for after in set(AFTER)]
    )


def test_usual_texts_need_no_library() -> None:
    """Else a new release of the library has made it slow: `numbering_plan` cannot read its metadata."""
    american = [
        "(202) 555-0132",
        "202.555.0132",
        "+12025550132",
        "1-416-555-0132 x7",
        "Tel: 212/555-0132",
        "n/a",
        "",
        "1-800-FLOWERS",
        "(202) 555-0132 (home)",
    ]
    assert all(decided_without_the_library(american))
    british = ["020 7946 0000", "+44 (0)20 7946 0000", "0044 20 7946 0000", "07400 123456", "+1 202 555 0132"]
    assert all(decided_without_the_library(british, "GB"))


def test_every_region_of_the_library_can_be_read() -> None:
    """A pattern that RE2 might read otherwise than `re` would send a whole country to the library."""
    unread = [
        code for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE if not numbering_plan.regions_of(code)
    ]
    assert not unread


def test_other_metadata_gives_other_answers() -> None:
    """The rules are the installed release's, and no copy of them."""
    texts = [("202-555-0132", "US"), ("212-555-0132", "US"), ("+1 416 555 0132", "GB")]
    assert_all_equal(texts)
    us = PhoneMetadata.metadata_for_region("US")
    with metadata_changed(us.fixed_line, national_number_pattern=r"202[2-9]\d{6}"):
        assert by_the_library("212-555-0132", "US") is None
        assert_all_equal(texts)
    with metadata_changed(us.general_desc, possible_length=(9, 10)):
        assert_all_equal([*texts, ("20255501320", "US"), ("1202555013", "US")])


@pytest.mark.parametrize("pattern", [r"(?!212)[2-9]\d{9}", r"[2-9]\d+", r"[2-9]\w{9}", r"([2-9])\1\d{8}"])
def test_metadata_of_an_unknown_form_sends_everything_to_the_library(pattern: str) -> None:
    """Slow is better than wrong."""
    texts = ["202-555-0132", "212-555-0132", "+1 416 555 0132", "(226) 555-0132"]
    with metadata_changed(
        PhoneMetadata.metadata_for_region("US").fixed_line, national_number_pattern=pattern
    ):
        assert not any(decided_without_the_library(texts))
        assert_all_equal([(text, "US") for text in texts])
    with metadata_changed(PhoneMetadata.metadata_for_region("CA"), leading_digits=r"(?=4)416"):
        assert not any(decided_without_the_library(texts))
        assert_all_equal([(text, "CA") for text in texts])


def test_equal_texts_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column full of one odd text costs as much as that text."""
    asked: list[str] = []
    parse = phonenumbers.parse

    def counting(number: str, region: str | None) -> phonenumbers.PhoneNumber:
        asked.append(number)
        return parse(number, region)

    monkeypatch.setattr(phonenumbers, "parse", counting)
    odd = "202-555-0132 доб 4"
    found = normalise_phones(pd.Series([odd, "202-555-0132"] * 50, dtype=object))
    assert asked == [odd]
    assert found.notna().all()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_area_code_and_exchange_is_what_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million numbers, each with a tail of its own, some with plus and calling code."""
    monkeypatch.setattr(numbering, "_PIECE", 1 << 17)
    for area in range(1000):
        tail = area * 37 % 10_000
        rows = [(f"{area:03}{exchange:03}{(tail + exchange) % 10_000:04}", "US") for exchange in range(1000)]
        assert_all_equal([*rows, *((f"+1{text}", None) for text, _ in rows[area % 7 :: 7])])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_seventh_digit_counts_where_a_region_has_its_own_area_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six digits do not decide in Barbados and Jamaica; nor might they elsewhere, one day."""
    monkeypatch.setattr(numbering, "_PIECE", 1 << 17)
    leading = "|".join(region.leading for region in numbering_plan.regions_of(1) if region.leading)
    areas = sorted({four // 10 for four in range(2000, 10_000) if re.match(leading, str(four))})
    assert {246, 876} <= set(areas)
    for area in areas:
        assert_all_equal([(f"{area}{seven:04}132", "US") for seven in range(10_000)])
