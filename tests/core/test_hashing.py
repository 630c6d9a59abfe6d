"""The hash that may never change."""

import numpy as np

from airflow_sms_flow.core.hashing import mixed


def test_it_is_splitmix64_as_published() -> None:
    """The first values of the generator, seeded with 0, as its reference implementation prints them."""
    step = 0x9E3779B97F4A7C15
    seeds = np.array([0, step, 2 * step % 2**64], dtype=np.uint64)
    assert [hex(one) for one in mixed(seeds)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
