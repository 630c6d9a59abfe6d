"""What stands in a list of numbers that the library reads as no number, or as less than there is.

Whoever stands in a list of numbers that must not be texted, and is passed over, is texted. So an entry is
passed over only where there can be nobody in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.phone import normalise_phones

#: Its stubs know no function of text arrays.
pc: Any = arrow_compute
Mask = npt.NDArray[np.bool_]

_BETWEEN = r"[-\s./()\[\]\u2010-\u2015]*"
#: No country code begins with 0, and no number of any country is longer.
_LONE = rf"\s*\+{_BETWEEN}[1-9](?:{_BETWEEN}[0-9]){{0,14}}{_BETWEEN}"
#: With less, the set of numbers takes nothing for one.
_FEWEST, _MOST = 5, 15
#: More than a code for calls abroad or an extension of a desk.
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
    read = pc.subtract(pc.binary_length(pa.array(phones, pa.string())), 1)  # its plus is no digit
    written = pc.count_substring_regex(pa.array(entries, pa.string()), r"\p{Nd}")
    more = pc.greater_equal(pc.subtract(written, read), _ANOTHER)
    mask: Mask = pc.fill_null(more, False).to_numpy(zero_copy_only=False)
    return mask
