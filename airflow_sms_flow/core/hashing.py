"""A hash of whole numbers that never changes.

Neither Python's `hash` nor a library's will do: who is held out of a campaign, and which shard a number
belongs to, must come out the same in every task, on every machine, in every release.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014):
    each bit of the result depends on all bits. Never change it."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
