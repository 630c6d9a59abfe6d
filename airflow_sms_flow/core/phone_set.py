"""Many phone numbers in little memory: eight bytes each, and a microsecond to look for one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_sms_flow.core.errors import BugError

#: A plus and up to fifteen digits, which fit an int64. Longer ones cannot be dialled.
_E164 = r"\+[1-9][0-9]{4,14}"
_IS_E164 = re.compile(_E164)

Numbers = npt.NDArray[np.int64]


def _nobody() -> Numbers:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PhoneSet:
    """A set of E.164 numbers. Whatever is not E.164 is in no such set."""

    numbers: Numbers = field(default_factory=_nobody)  #: sorted, each once, without their plus

    @classmethod
    def of(cls, phones: Iterable[str]) -> PhoneSet:
        """Of texts; those that are not E.164 are left out."""
        return cls.merged([as_numbers(pa.array(phones, pa.string()))])

    @classmethod
    def merged(cls, parts: Iterable[Numbers]) -> PhoneSet:
        """Of arrays that `as_numbers` gave, in any order and with repeats."""
        return cls(np.unique(np.concatenate([_nobody(), *parts])))

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, phone: object) -> bool:
        if not isinstance(phone, str) or not _IS_E164.fullmatch(phone):
            return False
        number = int(phone[1:])
        at = int(np.searchsorted(self.numbers, number))
        return at < len(self.numbers) and int(self.numbers[at]) == number

    def has_each(self, phones: pa.Array[Any]) -> npt.NDArray[np.bool_]:
        """Of texts, row for row, whether they are in the set; a missing one is not."""
        good = is_e164(phones)
        found = np.zeros(len(phones), dtype=bool)
        found[good] = np.isin(as_numbers(phones), self.numbers)
        return found

    def has_each_number(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """The same of whole numbers, as `numbers_or_zero` gives them."""
        return (
            pd.Series(numbers).isin(self.numbers).to_numpy()
        )  # by hash: quicker than `np.isin`, which sorts

    def minus(self, other: PhoneSet) -> PhoneSet:
        """Those that are not in `other`."""
        return PhoneSet(np.setdiff1d(self.numbers, other.numbers, assume_unique=True))

    def __iter__(self) -> Iterator[str]:
        """The numbers as E.164 texts, sorted as numbers."""
        return (f"+{number}" for number in self.numbers)


def is_e164(phones: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    """Row for row, whether it is a number in E.164. What is missing, or no text at all, is none."""
    texts: Any = phones
    if not (pa.types.is_string(phones.type) or pa.types.is_large_string(phones.type)):
        return np.zeros(len(phones), dtype=bool)
    found: Any = pc.fill_null(pc.match_substring_regex(texts, f"^{_E164}$"), False)
    good: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return good


def as_numbers(phones: pa.Array[Any]) -> Numbers:
    """E.164 texts as whole numbers, in their order; whatever is not E.164 is left out."""
    texts: Any = phones  # the stubs of pyarrow know no functions of text arrays
    good = texts.filter(pa.array(is_e164(phones)))
    found: Numbers = pc.cast(pc.utf8_slice_codeunits(good, 1), pa.int64()).to_numpy(zero_copy_only=False)
    return found


def numbers_or_zero(phones: pa.Array[Any]) -> Numbers:
    """Texts that `normalise_phones` gave as whole numbers, row for row; 0 where there is none.

    Their longest have nineteen digits and still fit. Raises `BugError` for one that does not.
    """
    known: Any = pc.cast(phones, pa.string())
    texts: Any = pc.fill_null(known, "+0")
    try:
        found: Numbers = pc.cast(pc.utf8_slice_codeunits(texts, 1), pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # whose text shows the number
        raise BugError("a valid phone number is too long for 64 bits. Please report it") from None
    return found


def as_phones(numbers: Numbers) -> pa.Array[Any]:
    """The way back: E.164 texts, null for 0."""
    digits: Any = pc.cast(pa.array(numbers, mask=numbers == 0), pa.string())
    phones: pa.Array[Any] = pc.binary_join_element_wise("+", digits, "")
    return phones
