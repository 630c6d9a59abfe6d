"""Which shard a phone number belongs to: the same everywhere and for ever, so that duplicates always meet.

Pieces of one audience are prepared by different tasks, on different machines, and merged shard by shard. Were
a number in shard 3 of one and in shard 5 of another, it would be texted twice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from airflow_sms_flow.core.hashing import mixed


def shard_numbers(
    numbers: npt.NDArray[np.int64] | npt.NDArray[np.uint64], shards: int
) -> npt.NDArray[np.int64]:
    """The shard of each number, from 0 to `shards` - 1. Never change it.

    `numbers`: E.164 without the plus. Numbers are handed out in blocks; blocks spread evenly, too.
    """
    found: npt.NDArray[np.int64] = (mixed(numbers.astype(np.uint64)) % np.uint64(shards)).astype(np.int64)
    return found
