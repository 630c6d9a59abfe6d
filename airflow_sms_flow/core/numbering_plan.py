"""What the installed `phonenumbers` release knows of regions and calling codes, as patterns for RE2.

Nothing about any country is written here. A region whose metadata is not of the form that this module
knows (another attribute, another kind of pattern) is not read at all: its numbers go to the library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

#: Of what such a pattern is made, `re` and RE2 find the same in a row of digits.
_SAME_IN_RE2 = re.compile(r"(?:[0-9]|\\d|\[\^?(?:[0-9]|\\d|-)+\]|\(\?:|\((?!\?)|[)|?$]|\{[0-9,]+\})*")
#: The library calls a number valid if it is of one of these kinds.
_KINDS = (
    "premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail",
    "fixed_line", "mobile",
)  # fmt: skip
NEVER = r"[^\x00-\x{10ffff}]"


@dataclass(frozen=True, slots=True)
class Region:
    """What the metadata says of a region. Patterns are of digits, "" for none; sizes are counts of digits.

    `abroad`: what one dials before a calling code. `trunk`: what one dials before a number of the region;
    `plain_trunk`: the usual one, if it is just dropped. `kinds`: patterns, by the sizes that they hold for.
    """

    name: str
    code: int
    abroad: str
    trunk: str
    plain_trunk: str
    leading: str
    general: str
    sizes: tuple[int, ...]
    local_sizes: tuple[int, ...]
    kinds: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]


@cache
def regions_of(code: int) -> tuple[Region, ...]:
    """The regions of a calling code, the main one first; none at all if one of them cannot be read."""
    regions = [read_region(name, code) for name in COUNTRY_CODE_TO_REGION_CODE[code]]
    if len(regions) == 1 and regions[0] is not None:
        return (replace(regions[0], leading=""),)  # The library does not look at it where there is no choice.
    read = tuple(region for region in regions if region is not None and region.code == code)
    return read if len(read) == len(regions) else ()


@cache
def read_region(name: str, code: int = 0) -> Region | None:
    """A region, or None if it cannot be read. `code` is for "001", which has several."""
    try:
        found: Any = PhoneMetadata.metadata_for_region_or_calling_code(code, name)
        sizes = tuple(found.general_desc.possible_length)
        kinds: dict[tuple[int, ...], tuple[str, ...]] = {}
        for kind in _KINDS[:-1] if found.same_mobile_and_fixed_line_pattern else _KINDS:
            if (one := getattr(found, kind)) is not None:
                allowed = tuple(size for size in sizes if size in (one.possible_length or sizes))
                kinds[allowed] = (*kinds.get(allowed, ()), one.national_number_pattern or "")
        trunk, rewritten = found.national_prefix_for_parsing or "", found.national_prefix_transform_rule
        trunks = trunk.split("|")  # The first that matches counts, to `re` as well.
        region = Region(
            name=name,
            code=found.country_code,
            abroad=found.international_prefix or "",
            trunk=trunk,
            plain_trunk=trunks[0] if "".join(trunks).isdigit() and not rewritten else "",
            leading=found.leading_digits or "",
            general=found.general_desc.national_number_pattern or "",
            sizes=sizes,
            local_sizes=tuple(found.general_desc.possible_length_local_only),
            kinds=tuple(kinds.items()),
        )
    except AttributeError:
        return None
    patterns = [region.abroad, region.trunk, region.leading, region.general, *chain(*kinds.values())]
    understood = all(_SAME_IN_RE2.fullmatch(pattern) for pattern in patterns)
    return region if understood and sizes else None


def calling_code(digits: str) -> int:
    """The calling code that begins with these digits, or -1. None is the beginning of another one."""
    codes = (int(digits[:size]) for size in range(1, len(digits) + 1) if digits[0] != "0")
    return next((code for code in codes if code in COUNTRY_CODE_TO_REGION_CODE), -1)


def begins(prefixes: Iterable[str], code: int | None = None) -> str:
    """A pattern for what begins with one of `prefixes`, after plus and `code` if that is given."""
    some = "|".join(f"(?:{prefix})" for prefix in prefixes if prefix)
    return ("^" if code is None else rf"^\+{code}") + (f"(?:{some})" if some else NEVER)


def is_one_of(patterns: Iterable[str], code: int) -> str:
    """A pattern for plus, `code`, and after that wholly one of `patterns`."""
    return begins([f"(?:{pattern})$" for pattern in dict.fromkeys(patterns) if pattern], code)
