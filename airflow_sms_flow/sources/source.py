"""What every source offers, before its columns are mapped and its cells typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Source:
    """An open file or query.

    `names`: its columns, in their order; a name may stand twice.
    `read`: the rows of some of them, in pieces of one schema. There is always a first piece, empty where
    there are no rows, so that the types are known. It may be called once.
    """

    names: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
