"""Which of several leads with one number gets the text, and which of several rows stands for a lead.

Only rows that compete are ever ranked, and nothing about the others changes a rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute

from airflow_sms_flow.core.cells import as_text
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import Mask
from airflow_sms_flow.core.phone_set import Numbers
from airflow_sms_flow.core.rules import NEWEST_UPDATED, UPDATED_AT, AudienceRules

#: Its stubs know no function of one value of Python's own.
pc: Any = arrow_compute

#: In microseconds: nanoseconds end in the year 2262, and warehouses write 9999 for "never".
_EPOCH = pd.Timestamp(0, tz="UTC").as_unit("us")
_NO_TEXT = pa.scalar(None, pa.string())


@dataclass(frozen=True, slots=True)
class Ranks:
    """What `keep` compares, for rows that compete, in their order: the highest number wins, before all texts
    (NaN: no number), then the highest text (null: none). `content` is a hash of all cells, which only counts
    between rows of one lead that are equal so far."""

    number: npt.NDArray[np.float64]
    text: pa.Array[Any]
    content: npt.NDArray[np.uint64]

    @classmethod
    def equal(cls, size: int) -> Ranks:
        """So many rows between which only their ids decide."""
        return cls(np.zeros(size), pa.nulls(size, pa.string()), np.zeros(size, dtype=np.uint64))

    @classmethod
    def together(cls, ranks: Sequence[Ranks]) -> Ranks:
        """All of them as one."""
        return cls(
            np.concatenate([one.number for one in ranks]),
            pa.concat_arrays([one.text for one in ranks]),
            np.concatenate([one.content for one in ranks]),
        )


def repeated(values: Numbers) -> Mask:
    """Those that stand somewhere else, too."""
    order = np.argsort(values)
    same = np.flatnonzero(np.diff(values[order]) == 0)
    found = np.zeros(len(values), dtype=bool)
    found[order[same]] = found[order[same + 1]] = True
    return found


def rank(rows: pa.RecordBatch, rules: AudienceRules, content: bool) -> Ranks:
    """Rank rows that compete, value by value. `content` only where several rows have one id: it needs all
    columns."""
    ranks = Ranks.equal(rows.num_rows)
    if content:
        ranks = replace(ranks, content=_contents(rows))
    if rules.keep_column is None:
        return ranks
    texts = as_text(rows.column(rules.keep_column), rules.keep_column)
    if rules.keep == NEWEST_UPDATED:
        return replace(ranks, number=_moments(texts))
    number = _as_numbers(texts)
    return replace(ranks, number=number, text=pc.if_else(pa.array(np.isnan(number)), texts, _NO_TEXT))


def losers(ids: Numbers, phones: Numbers, ranks: Ranks) -> Mask:
    """The rows that give way: first all but one row per lead, then all but one lead per number."""
    text = pc.rank(ranks.text, sort_keys="descending", tiebreaker="dense")  # null at the end
    worst_last = (ranks.content, phones, ids, text.to_numpy(), -ranks.number)
    lost = _all_but_the_first(ids, worst_last)
    left = ~lost
    lost[left] = _all_but_the_first(phones[left], [one[left] for one in worst_last])
    return lost


def _all_but_the_first(key: Numbers, worst_last: Sequence[npt.NDArray[Any]]) -> Mask:
    tied = np.flatnonzero(repeated(key))
    ranks = [one[tied] for one in worst_last]
    telling = [one for one in ranks if (one != one[:1]).any()]  # sorting is most of the work here
    order = tied[np.lexsort([*telling, key[tied]])]
    lost = np.zeros(len(key), dtype=bool)
    lost[order[1:]] = np.diff(key[order]) == 0
    return lost


def _moments(texts: Any) -> npt.NDArray[np.float64]:
    """Seconds since 1970 of ISO 8601 texts, those without a zone read as UTC; NaN where there is none."""
    cells = texts.to_pandas().astype(object)
    moments = pd.to_datetime(cells, utc=True, format="ISO8601", errors="coerce").dt.as_unit("us")
    if odd := int((moments.isna() & cells.str.strip().fillna("").ne("")).sum()):
        remedy = f"{odd} leads that share a number hold something in {UPDATED_AT} that is no ISO 8601 moment"
        raise InvalidInput("keep", NEWEST_UPDATED, f"{remedy}; clean the column, or keep by another one")
    seconds: npt.NDArray[np.float64] = (moments - _EPOCH).dt.total_seconds().to_numpy()
    return seconds


def _as_numbers(texts: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = pd.to_numeric(
        texts.to_pandas().astype(object), errors="coerce"
    ).to_numpy(dtype=np.float64)
    return numbers


def _contents(rows: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """A hash of the texts of all cells, the same in every process."""
    found = np.zeros(rows.num_rows, dtype=np.uint64)
    for cells in rows.columns:
        texts = cells.to_pylist() if pa.types.is_nested(cells.type) else as_text(cells, "").to_pylist()
        told = np.array(["" if text is None else str(text) for text in texts], dtype=object)
        found = found * np.uint64(31) + pd.util.hash_array(told)
    return found
