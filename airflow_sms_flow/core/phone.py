"""Phone numbers, exactly as the `phonenumbers` library decides, and never in a log.

A number is what `parse` + `is_valid_number` + E.164 say, for the region that belongs to the lead; what
any of these refuses is missing. `tests/core/test_phone.py` and `test_numbering.py` hold this equality for
every input.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
from babel import Locale
from babel.core import get_global

from airflow_sms_flow.core import numbering
from airflow_sms_flow.core.errors import InvalidInput

# The library keeps at most 100 compiled patterns (it uses `re`'s own store) unless asked to keep them all.
# Older releases do not have the switch.
_enable_pattern_cache = getattr(phonenumbers, "enable_pattern_cache", None)

_E164 = re.compile(r"\+[0-9]{4,19}")

#: Names that people type and no list of countries holds; keys as `_fold` writes them.
_ALIASES = {
    "america": "US",
    "theunitedstates": "US",
    "theunitedstatesofamerica": "US",
    "unitedstatesofamerica": "US",
    "unitedstatesusa": "US",
    "britain": "GB",
    "england": "GB",
    "greatbritain": "GB",
    "northernireland": "GB",
    "scotland": "GB",
    "wales": "GB",
    "deutschland": "DE",
    "espana": "ES",
    "holland": "NL",
    "thenetherlands": "NL",
    "czechrepublic": "CZ",
    "hongkong": "HK",
    "macau": "MO",
    "korea": "KR",
    "republicofkorea": "KR",
    "republicofireland": "IE",
    "russianfederation": "RU",
    "burma": "MM",
    "myanmar": "MM",
    "turkey": "TR",
    "macao": "MO",
    "saintlucia": "LC",
    "saintkittsandnevis": "KN",
    "saintvincentandthegrenadines": "VC",
    "uk": "GB",
    "ivorycoast": "CI",
    "swaziland": "SZ",
    "palestine": "PS",
    "peoplesrepublicofchina": "CN",
}


def normalise_phones(numbers: pd.Series[Any], region: str | pd.Series[Any] = "US") -> pd.Series[Any]:
    """Write each number as E.164 text, or as missing where it is none.

    `numbers` holds text and missing values (None, NaN, pd.NA). `region` is the ISO-2 region in which a
    number without a country code was written: one for all, or a Series with the index of `numbers`, in
    which a missing region reads only numbers that carry their own country code.

    Gives a Series of dtype "string" with the index and name of `numbers`. Raises `InvalidInput` for a
    region that the library does not know, and for numbers that are not text: 2025550132.0 read as text
    would be another number.

    `numbering` decides nearly all of a usual column at once; what it leaves open, the library is asked, once
    for each distinct text and region.
    """
    codes, regions = _regions(region, numbers)
    answers = numbering.e164(_texts(numbers), codes, regions)
    left = answers.is_null().to_numpy(zero_copy_only=False)
    left[left] = numbers[left].notna()
    asked = _ask_the_library(numbers[left], codes[left], regions)
    answers = pc.replace_with_mask(answers, pa.array(left), asked)
    found = pc.if_else(pc.equal(answers, pa.scalar("", answers.type)), pa.scalar(None, answers.type), answers)
    dtype: Any = pd.StringDtype()
    return pd.Series(dtype.__from_arrow__(found), index=numbers.index, name=numbers.name)


def check_region(field: str, region: object) -> None:
    """Raise `InvalidInput` unless `region` is an ISO-2 region that has phone numbers, such as "US"."""
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput(field, region, 'give a two-letter region in capitals, such as "US", "CA" or "GB"')


def mask_phone(number: str) -> str:
    """Hide the middle of an E.164 number: "+12025550132" becomes "+1******0132".

    What is shorter than eleven characters or no E.164 number at all is hidden wholly.
    """
    if _E164.fullmatch(number) is None or len(number) < 11:
        return "******"
    return number[:2] + "*" * (len(number) - 6) + number[-4:]


def country_to_region(country: str) -> str | None:
    """The region that a country's free text means ("United States", "USA", "ca", "Deutschland"), or None.

    Understands ISO-2 and ISO-3 codes, English names, and the usual other names. Case, accents and
    punctuation do not count. None is also the answer for a country without phone numbers of its own.
    """
    return _names().get(_fold(country))


def _texts(numbers: pd.Series[Any]) -> pa.LargeStringArray:
    """The texts for Arrow; null for what is missing, and for what Arrow cannot hold."""
    texts: Any = None
    if isinstance(numbers.dtype, pd.ArrowDtype):
        texts = pa.chunked_array(pa.array(numbers)).combine_chunks()  # as it is, without a detour
    else:
        with suppress(pa.ArrowException, UnicodeEncodeError):
            texts = pa.array(numbers.to_numpy(dtype=object), from_pandas=True)
    if texts is None or not (pa.types.is_string(texts.type) or pa.types.is_null(texts.type)):
        values = numbers.to_numpy(dtype=object)
        known = values[numbers.notna()]
        odd = {type(value).__name__ for value in known if not isinstance(value, str)}
        if odd:
            remedy = f"holds values of type {', '.join(sorted(odd))}; read phone numbers as text"
            raise InvalidInput("numbers", str(numbers.name), remedy)
        # Half a surrogate pair is no Unicode text.
        texts = pa.array([value if str(value).isascii() else None for value in values], from_pandas=True)
    large: pa.LargeStringArray = texts.cast(pa.large_string())
    return large


def _regions(region: str | pd.Series[Any], numbers: pd.Series[Any]) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Which of the regions each number is read in; -1 for none."""
    if isinstance(region, str):
        check_region("region", region)
        return np.zeros(len(numbers), dtype=np.intp), [region]
    if not region.index.equals(numbers.index):
        remedy = "give one region for each number, with the same index"
        raise InvalidInput("region", str(region.name), remedy)
    codes, regions = pd.factorize(region.astype(object))
    for one in regions:
        check_region("region", one)
    return codes, list(regions)


def _ask_the_library(
    numbers: pd.Series[Any], codes: npt.NDArray[np.intp], regions: list[str]
) -> pa.LargeStringArray:
    """E.164 or null for each text; `codes` and `regions` as in `_regions`."""
    if _enable_pattern_cache is not None:
        _enable_pattern_cache()
    where = [*regions, None]
    asked = list(zip(numbers, codes.tolist(), strict=True))
    known = {one: _normalise_one(one[0], where[one[1]]) for one in dict.fromkeys(asked)}
    return pa.array([known[one] for one in asked], pa.large_string())


def _normalise_one(number: str, region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("&", "and")).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


@cache
def _names() -> dict[str, str]:
    """Every name we understand, folded, and its region. Codes win over names, names over aliases."""
    names = dict(_ALIASES)
    names.update((_fold(name), code) for code, name in Locale("en").territories.items())
    # The three-letter codes only: withdrawn two-letter ones look like states ("CT" was part of Kiribati).
    for alias, codes in get_global("territory_aliases").items():
        if len(codes) == 1 and len(alias) == 3 and alias.isalpha():
            names[_fold(alias)] = codes[0]
    names.update((code.casefold(), code) for code in phonenumbers.SUPPORTED_REGIONS)
    return {name: code for name, code in names.items() if code in phonenumbers.SUPPORTED_REGIONS}
