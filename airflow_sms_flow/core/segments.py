"""How many SMS parts a text takes: GSM 03.38 septets, else UTF-16 code units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: GSM 03.38 basic character set (3GPP TS 23.038, 6.2.1), one septet each; ESC itself is no character.
_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: The extension table (6.2.1.1): an escape and the character, two septets that stay in one part.
_GSM_EXTENSION = frozenset("\f^{}\\[~]|€")

_GSM_SINGLE, _GSM_PART = 160, 153
_UCS2_SINGLE, _UCS2_PART = 70, 67


@dataclass(frozen=True, slots=True)
class Segments:
    """The cost of one text.

    `encoding`: "GSM-7" or "UCS-2". `length`: in `unit`s, "septets" or "code units" (UTF-16).
    `count`: the parts that are charged; 0 for an empty text.
    """

    encoding: str
    length: int
    unit: str
    count: int


def count_segments(text: str) -> Segments:
    """Count the parts of a text: 160 septets alone or 153 a part, else 70 code units alone or 67 a part.

    Neither an escaped character nor a surrogate pair is split between two parts.
    """
    costs = [1 if letter in _GSM_BASIC else 2 if letter in _GSM_EXTENSION else 0 for letter in text]
    if all(costs):
        return Segments("GSM-7", sum(costs), "septets", _parts(costs, _GSM_SINGLE, _GSM_PART))
    costs = [2 if ord(letter) > 0xFFFF else 1 for letter in text]
    return Segments("UCS-2", sum(costs), "code units", _parts(costs, _UCS2_SINGLE, _UCS2_PART))


def _parts(costs: Sequence[int], single: int, part: int) -> int:
    if sum(costs) <= single:
        return 1 if costs else 0
    count, used = 1, 0
    for cost in costs:
        if used + cost > part:
            count, used = count + 1, 0
        used += cost
    return count
