"""What leads say by themselves, from what an earlier preparation wrote of them.

Reading phone numbers is what takes long; a preparation has done it, and its files tell the result. Only of
suppressed leads more is asked than stands there: all their numbers, since each of them is suppressed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.filters import Mask
from airflow_sms_flow.core.leads import Look, look
from airflow_sms_flow.core.phone_set import Numbers, numbers_or_zero
from airflow_sms_flow.core.rules import AudienceRules

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute


def look_again(
    rows: pa.RecordBatch,
    phones: pa.Array[Any],
    reasons: pa.Array[Any],
    suppressed: Numbers,
    rules: AudienceRules,
) -> Look:
    """What `look` would say of the rows.

    `phones`, `reasons`: what the preparation wrote, row for row, null where it wrote none. `suppressed`: the
    ids of all leads, in whatever file they are, of whom a suppress column says yes.
    """
    ids: Numbers = rows.column("id").cast(pa.int64()).to_numpy(zero_copy_only=False)
    nothing: Numbers = np.zeros(len(ids), dtype=np.int64)
    seen = Look(
        ids,
        (numbers_or_zero(phones).copy(), *(nothing.copy() for _ in rules.phone_fields[1:])),
        blank=_are(reasons, "no_phone"),
        flagged=np.zeros(len(ids), dtype=bool),
        filtered=_are(reasons, "filtered"),
        odd=np.zeros(len(rules.suppress), dtype=np.int64),
    )
    again = pd.Series(ids).isin(suppressed).to_numpy()
    if again.any():
        whole = look(rows.filter(pa.array(again)), rules)
        for mine, found in zip(seen.numbers, whole.numbers, strict=True):
            mine[again] = found
        seen.blank[again], seen.flagged[again] = whole.blank, whole.flagged
    return seen


def _are(reasons: pa.Array[Any], reason: str) -> Mask:
    found: Mask = pc.fill_null(pc.equal(reasons, reason), False).to_numpy(zero_copy_only=False).copy()
    return found
