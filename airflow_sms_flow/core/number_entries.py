"""What stands in a list of numbers that the library reads as no number, or as less than there is.

Whoever stands in a list of numbers that must not be texted, and is passed over, is texted. So an entry is
passed over only where there can be nobody in it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.numbering_plan import calling_code
from airflow_sms_flow.core.phone import normalise_phones

#: Its stubs know no function of text arrays.
pc: Any = arrow_compute
Mask = npt.NDArray[np.bool_]

_BETWEEN = r"[-\s./()\[\]\u2010-\u2015]*"
#: No country code begins with 0, and no number of any country is longer.
_LONE = rf"\s*\+{_BETWEEN}[1-9](?:{_BETWEEN}[0-9]){{0,14}}{_BETWEEN}"
#: With less, the set of numbers takes nothing for one.
_FEWEST, _MOST = 5, 15
#: More than a code for calls abroad or an extension of a desk; a number that is shorter needs no more.
_ANOTHER = 7


def surely_nobodys(entries: pd.Series[str]) -> Mask:
    """Of entries that are no valid number, those with one number of a stated country and nothing beside it,
    which no valid number begins, either: "+1 415 555 0132 7" may be one with a slip behind it."""
    sure = entries.str.fullmatch(_LONE).to_numpy(dtype=bool, copy=True)
    digits = entries[sure].str.replace(r"[^0-9]", "", regex=True)
    begun = np.zeros(len(digits), dtype=bool)
    for size in range(_FEWEST, _MOST):
        heads = "+" + digits.str[:size].where(digits.str.len() > size)
        begun |= normalise_phones(heads).notna().to_numpy()
    sure[sure] = ~begun
    return sure


def holding_another(entries: pd.Series[str], phones: pd.Series[str]) -> Mask:
    """Of entries and the numbers found in them (or missing), those in which another may stand behind it: the
    library takes the second number of "415 555 0132;415 555 0133" for the first one's extension."""
    found = pa.array(phones, pa.string())
    # Numbers are mostly written without their country's code; which else would hide as many digits.
    short = pc.subtract(pc.binary_length(found), pc.add(_code_sizes(found), 1))
    written = pc.count_substring_regex(pa.array(entries, pa.string()), r"\p{Nd}")
    another = pc.min_element_wise(short, _ANOTHER)  # some countries have numbers of five or six digits
    more = pc.greater_equal(pc.subtract(written, short), another)
    mask: Mask = pc.fill_null(more, False).to_numpy(zero_copy_only=False).copy()
    for place in np.flatnonzero(mask):
        digits, number = re.sub("[^0-9]", "", entries.iloc[place]), phones.iloc[place][1:]
        if digits.startswith(number):
            mask[place] = len(digits) - len(number) >= another[int(place)].as_py()
    return mask


def _code_sizes(phones: Any) -> Any:
    """How many digits the country's code of each of these has; missing where the number is."""
    heads = pc.dictionary_encode(pc.utf8_slice_codeunits(phones, 1, 4))
    sizes = [len(str(calling_code(head))) for head in heads.dictionary.to_pylist()]
    return pa.array(sizes, pa.int32()).take(heads.indices)
