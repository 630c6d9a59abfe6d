"""An extracted file of made-up leads, of any size, as a smart list of people in North America looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from airflow_sms_flow import storage
from tests.benchmarks.one_column import Writer, mixed

_PIECE = 65_536
_CHOICES: dict[str, list[Any]] = {
    "country": ["US", "US", "US", "CA", "United States", None],
    "blackListed": [True, *[False] * 40],
    "marketingSuspended": [None, None, *[False] * 40, True],
    "firstName": ["Ada", "Bo", "Zoë", "Jean-Luc", "María", "none", "N/A", '"O"Neil'],
    "city": ["Springfield", "Toronto", "Portland, OR", None],
    "state": ["CA", "NY", "ON", None],
    "company": [None, "Acme", "Smith, Sons", "Initech", "Umbrella"],
}


def write_leads(path: str, rows: int) -> None:
    """Twelve columns, some 130 bytes a lead; ids in no order, a fifth of the numbers twice."""
    texts, _ = mixed(Writer(), rows)
    dice = np.random.default_rng(1)
    ids = dice.permutation(rows) + 1_000_000
    pieces = (
        _piece(ids[start : start + _PIECE], texts[start : start + _PIECE], dice)
        for start in range(0, rows, _PIECE)
    )
    storage.write_parquet(path, pieces)


def _piece(ids: Any, texts: list[str | None], dice: np.random.Generator) -> pa.Table:
    size = len(ids)
    columns: dict[str, Any] = {"id": ids, "mobilePhone": pa.array(texts, pa.string())}
    for name, words in _CHOICES.items():
        columns[name] = pa.array(words).take(pa.array(dice.integers(len(words), size=size)))
    days, numbers = dice.integers(1, 29, size=size).tolist(), dice.integers(10**7, size=size).tolist()
    columns["lastName"] = [f"Lastname{number % 99_999}" for number in numbers]
    columns["email"] = [f"user{number}@example.com" for number in numbers]
    columns["updatedAt"] = [f"2026-{day % 12 + 1:02}-{day:02}T{day % 24:02}:15:00Z" for day in days]
    return pa.table(columns)
