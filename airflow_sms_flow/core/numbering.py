"""The rules of the `phonenumbers` library, applied to whole columns of texts instead of one text at a time.

What the library decides by the patterns of its metadata, Arrow's RE2 decides here by the very same
patterns, read from the installed release: nothing about any country is written below. Three steps:

1. `_dialled`: a text that is nothing but one number and its punctuation becomes plus and digits.
2. `_with_calling_code`: digits without a plus get the calling code that `parse` would give them.
3. `_judged`: what has plus and calling code is a valid number, or it is none.

Each step is exact where it answers, and leaves the rest null for the caller to ask the library itself.
Why it is exact is said where it is done; `tests/core/test_numbering.py` holds it against the library.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from airflow_sms_flow.core.numbering_plan import (
    NEVER,
    Region,
    begins,
    calling_code,
    is_one_of,
    read_region,
    regions_of,
)

#: A column of texts, a pyarrow.LargeStringArray. The stubs of pyarrow take most of its functions for others.
Texts = Any
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

#: For so few rows of one kind, asking the library is quicker than compiling patterns for them.
_FEW = 64
#: So many rows at once, with what is made of them, stay in a processor's cache.
_PIECE = 1 << 17

# The library drops what stands before the first digit or plus, and what is neither letter, digit nor "#"
# at the end. Here that is ASCII only, and without ";", which may begin an RFC 3966 parameter.
_BEFORE = r"[\x00-*,-/:<-\x7f]*"
_AFTER = r"[\x00-\"$-*,-/:-@\[-`{-\x7f]*"
# Of what it calls valid punctuation between digits, that which cannot begin an extension.
_BETWEEN = r"[- ./()\[\]\x{a0}\x{2010}-\x{2015}]*"
# It takes punctuation from three digits on.
_ONE_NUMBER = rf"^{_BEFORE}\+?(?:{_BETWEEN}[0-9]){{3,}}{_AFTER}$"
# An extension, which E.164 does not show: the plainest of the ways to write one that the library knows.
_EXTENSION = r"(?i)^(.*[0-9]) *(?:x|ext|extn|extension)[.:]? *[0-9]{1,6}$"
# Letters behind three digits, the last of them at the end, where no extension can be. Without X, which is
# punctuation, too, and begins a second number after a slash.
_WORDS = (
    rf"^{_BEFORE}\+?(?:{_BETWEEN}[0-9]){{3}}(?:{_BETWEEN}[0-9A-WYZa-wyz])*{_BETWEEN}[A-WYZa-wyz]{_AFTER}$"
)
_SPELLS = r"[0-9](?:.*[A-Za-z]){3}"  # Fewer letters are dropped as slips.
_NO_DIGITS = r"^[\x00-/:<-\x7f]*$"
_LONGEST = 250  # The library counts characters, and refuses more; these are bytes.


def e164(texts: Texts, codes: Ints, regions: Sequence[str]) -> Texts:
    """For each text its E.164 form, "" where it is no valid number, null where the library must be asked.

    `codes` says which of `regions` each text is read in; -1 for none.
    """
    starts = range(0, len(texts), _PIECE)
    if len(starts) < 2:
        return _at_once(texts, codes, regions, _FEW)
    few = _FEW * len(starts)  # What is rare in each piece may be worth its patterns in all of them together.
    pieces = [_at_once(texts[at : at + _PIECE], codes[at : at + _PIECE], regions, few) for at in starts]
    answers = pa.concat_arrays(pieces)
    left = ~_mask(answers.is_valid())
    return _replaced(answers, left, _at_once(texts.filter(pa.array(left)), codes[left], regions, _FEW))


def _at_once(texts: Texts, codes: Ints, regions: Sequence[str], few: int) -> Texts:
    return _judged(_with_calling_code(_dialled(texts), codes, regions), few)


def _dialled(texts: Texts) -> Texts:
    """The digits of each text, after its plus if it has one; "" where there are none.

    `parse` drops the surroundings of such a text, finds the rest viable, and no extension in it, for each
    way to write one needs a letter or one of "#~,;". From there on it looks at nothing but plus and digits.
    With our extension behind it the text is viable too, and that extension is the one that `parse` drops.
    A text with words (1-800-FLOWERS, or a label at the end) is viable as well; they are dialled by keypad.
    """
    plain = _match(texts, _ONE_NUMBER) & (_sizes(texts) <= _LONGEST)
    others = texts.filter(pa.array(~plain))
    short = _sizes(others) <= _LONGEST
    shorter = pc.replace_substring_regex(others, _EXTENSION, r"\1")
    one = _where(_match(shorter, _ONE_NUMBER) & short, _plus_and_digits(shorter), None)
    words = _match(others, _WORDS) & short
    one = _replaced(one, words, _dialled_by_words(others.filter(pa.array(words))))
    none = _match(others, _NO_DIGITS) & short
    return _replaced(_plus_and_digits(texts), ~plain, _where(none, "", one))


def _dialled_by_words(texts: Texts) -> Texts:
    """Those that `_WORDS` match: from three letters on each letter is a digit, as on a phone's keys."""
    from_number_on = pc.replace_substring_regex(texts, rf"^{_BEFORE}", "")
    letters = string.ascii_letters
    keys = str.maketrans(letters, phonenumbers.convert_alpha_characters_in_number(letters))
    spelled = [text.translate(keys) for text in from_number_on.to_pylist()]
    spells = _match(from_number_on, _SPELLS)
    return _plus_and_digits(_where(spells, pa.array(spelled, pa.large_string()), from_number_on))


def _plus_and_digits(texts: Texts) -> Texts:
    """The texts without any other byte; "" for null. Several times as fast as by a pattern."""
    if not len(texts):
        return texts  # perhaps without any buffers
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset :][: len(texts) + 1]
    letters = np.frombuffer(data or b"", np.uint8)[starts[0] : starts[-1]]
    kept = (letters - ord("0") < 10) | (letters == ord("+"))  # unsigned: what is below "0" becomes large
    counts = np.zeros(len(texts) + 1, np.int64)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        counts[filled + 1] = np.add.reduceat(kept, starts[filled] - starts[0], dtype=np.int64)
    places: Any = counts.cumsum()  # the stubs do not know that an array is a buffer
    chosen: Any = np.compress(kept, letters)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(places), pa.py_buffer(chosen))


def _with_calling_code(dialled: Texts, codes: Ints, regions: Sequence[str]) -> Texts:
    """The same with plus and calling code; null where a rule of the region might say otherwise."""

    def from_region(code: int, digits: Texts) -> Texts:
        home = read_region(regions[code])
        plan = regions_of(home.code) if home else None
        return _called_from(home, plan[0], digits) if home and plan else _nothing(digits)

    local = _begin_with_digit(dialled)
    return _where(local, _by_kind(dialled, np.where(local, codes, -1), from_region, _FEW), dialled)


def _begin_with_digit(dialled: Texts) -> Mask:
    return _mask(pc.greater_equal(dialled, _text("0")))  # A plus is less, and so is "".


def _called_from(home: Region, main: Region, digits: Texts) -> Texts:
    # Without any prefix it is a number within the region. With plus and calling code, the main region of
    # that code says what a trunk prefix is: where that is another region, there must be none for either.
    trunks = [] if home.name == main.name else [home.trunk, main.trunk]
    prefixed = _match(digits, begins([home.abroad, str(home.code), *trunks]))
    # Too many digits for the region, and the first are its calling code: only the plus is missing.
    some = digits.filter(pa.array(prefixed))
    sizes = _sizes(some)
    own = (sizes > max(home.sizes)) & ~np.isin(sizes, home.local_sizes)
    own &= _match(some, begins([str(home.code)]))
    own &= ~_match(some, begins([home.abroad, home.trunk and f"{home.code}(?:{home.trunk})"]))
    # A prefix for calls abroad stands for the plus, unless a zero follows.
    abroad = _match(some, f"^{home.abroad}[1-9]") & home.abroad.isdigit()
    plus = _where(abroad, _after("+", pc.utf8_slice_codeunits(some, len(home.abroad))), None)
    return _replaced(_after(f"+{home.code}", digits), prefixed, _where(own, _after("+", some), plus))


def _judged(worldwide: Texts, few: int) -> Texts:
    """What is a valid number, "" for what is none; null where patterns alone cannot tell."""

    def of_code(code: int, numbers: Texts) -> Texts:
        plan = regions_of(code)
        return _judged_by(plan, numbers, few) if plan else _nothing(numbers)

    heads = pc.binary_slice(worldwide.cast(pa.large_binary()), 1, 4).dictionary_encode()
    known = [calling_code(head.decode()) for head in heads.dictionary.to_pylist()]
    codes = np.array([*known, -1])[heads.indices.fill_null(-1).to_numpy()]
    return _where(_mask(pc.equal(worldwide, _text(""))), "", _by_kind(worldwide, codes, of_code, few))


def _judged_by(plan: Sequence[Region], numbers: Texts, few: int) -> Texts:
    code = plan[0].code
    free = [region for region in plan if not region.leading]
    answers = _where(_fits(code, free, numbers), numbers, "")
    # Few begin with a trunk prefix or with the leading digits of some region: only they need the whole way.
    special = _match(numbers, begins([plan[0].trunk, *(region.leading for region in plan)], code))
    some = numbers.filter(pa.array(special))
    if len(some) <= few * len(plan):
        return _where(special, None, answers)
    some = _without_trunk_prefix(plan[0], some)
    verdicts = _where(_valid(plan, some), some, _where(_mask(some.is_valid()), "", None))
    return _replaced(answers, special, verdicts)


def _without_trunk_prefix(main: Region, numbers: Texts) -> Texts:
    """+44 (0)20 7946 0000 without its (0); null where `parse` has more to weigh than that."""
    any_trunk = _match(numbers, begins([main.trunk], main.code))
    if not main.plain_trunk:
        return _where(any_trunk, None, numbers)
    start = len(f"+{main.code}")
    shorter = pc.utf8_replace_slice(numbers, start, start + len(main.plain_trunk), "")
    sizes = _sizes(shorter) - start
    clear = _match(numbers, begins([main.plain_trunk], main.code))
    clear &= np.isin(sizes, main.sizes) & ~np.isin(sizes, main.local_sizes)
    clear &= ~_match(numbers, is_one_of([main.general], main.code))
    return _where(any_trunk, _where(clear, shorter, None), numbers)


def _valid(plan: Sequence[Region], numbers: Texts) -> Mask:
    """A number belongs to the first region whose leading digits it has, or that has none and finds it valid.
    What that region says holds, whatever the next ones would."""
    valid = np.zeros(len(numbers), dtype=bool)
    left = np.arange(len(numbers))
    for region in plan:
        some = numbers.take(pa.array(left))
        if region.leading:
            own = _match(some, begins([region.leading], region.code))
            valid[left[own]] = _fits(region.code, [region], some.filter(pa.array(own)))
        else:
            own = _fits(region.code, [region], some)
            valid[left[own]] = True
        left = left[~own]
    return valid


def _fits(code: int, regions: Iterable[Region], numbers: Texts) -> Mask:
    """Which numbers are of a kind that one of these regions has."""
    kinds: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for region in regions:
        for sizes, some in region.kinds:
            kinds.setdefault(region.general, {}).setdefault(sizes, []).extend(some)
    fits, digits = np.zeros(len(numbers), dtype=bool), _sizes(numbers) - len(f"+{code}")
    for general, by_size in kinds.items():
        of_kind = np.zeros(len(numbers), dtype=bool)
        for sizes, patterns in by_size.items():
            left = np.isin(digits, sizes) & ~of_kind
            of_kind[left] = _match(numbers.filter(pa.array(left)), is_one_of(patterns, code))
        fits |= of_kind & _match(numbers, is_one_of([general], code))
    return fits


def _match(texts: Texts, pattern: str) -> Mask:
    """Which texts match; a null does not."""
    if pattern.endswith(NEVER) or not len(texts):
        return np.zeros(len(texts), dtype=bool)
    return _mask(pc.match_substring_regex(texts, pattern))


def _mask(found: Any) -> Mask:
    mask: Mask = found.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _sizes(texts: Texts) -> Ints:
    """Bytes in each text, 0 for null."""
    sizes: Any = pc.binary_length(texts)
    counts: Ints = sizes.fill_null(0).to_numpy()
    return counts


def _text(text: str | None) -> Any:
    return pa.scalar(text, pa.large_string())


def _after(start: str, texts: Texts) -> Texts:
    return pc.utf8_replace_slice(texts, 0, 0, start)  # several times as fast as joining


def _nothing(texts: Texts) -> Texts:
    return pa.nulls(len(texts), pa.large_string())


def _where(mask: Mask, yes: Texts | str | None, no: Texts | str | None) -> Texts:
    columns = [one if isinstance(one, pa.Array) else _text(one) for one in (yes, no)]
    return pc.if_else(pa.array(mask), *columns)


def _replaced(texts: Texts, mask: Mask, by: Texts) -> Texts:
    """`texts` with those that `mask` points out replaced, one after the other."""
    return pc.replace_with_mask(texts, pa.array(mask), by)


def _by_kind(
    texts: Texts,
    kinds: Ints,
    function: Callable[[int, Texts], Texts],
    few: int,
) -> Texts:
    """What `function` makes of the texts of each kind, in place; null for a kind below 0, and for `few`."""
    kinds = kinds.astype(np.int16)
    order = np.argsort(kinds, kind="stable")
    place = np.full(len(texts), -1)
    made, size = [_nothing(texts[:0])], 0
    for rows in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        if len(rows) > few and kinds[rows[0]] >= 0:
            made.append(function(int(kinds[rows[0]]), texts.take(pa.array(rows))))
            place[rows] = np.arange(size, size := size + len(rows))
    return pa.concat_arrays(made).take(pa.array(place, mask=place < 0))
