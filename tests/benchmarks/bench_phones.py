"""Reading a column of phone numbers. Goal: 25 times the plain `.apply` for North America, else never slower.

    python tests/benchmarks/bench_phones.py [--quick]

Each measurement is a process of its own, see `one_column`, in CPU time, which a busy machine disturbs less.
Ours is measured before, between and after the others; what the three ways find must be the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.benchmarks.measuring import judged, median, show, spread, started_quick

#: How often faster than `.apply` each audience shall be read.
GOALS = {"mixed": 25, "distinct": 25, "by country": 1, "british": 1, "foreign": 1, "odd": 1, "junk": 1}
WAYS = {"apply": ".apply", "cache": ".apply, the library's pattern cache on", "ours": "normalise_phones"}
TITLES = {
    "mixed": "US and Canada, 1/5 twice, some foreign, odd, junk",
    "distinct": "US and Canada, all distinct",
    "by country": "each in the region of its country, of six",
    "british": "Britain, as written there",
    "foreign": "from all the world",
    "odd": "labels, extensions, letters, two numbers",
    "junk": "hardly a number among them",
}


def main() -> None:
    quick = started_quick(__doc__)
    print("CPU seconds to read a column of phone numbers; how many times faster than a plain .apply")
    for audience, goal in GOALS.items():
        rows = 2_000 if quick else 1_000_000 if audience == "mixed" else 100_000
        ways = ["apply", "cache", "ours"] if quick else ["ours", "apply", "ours", "cache", "ours"]
        told = [(way, one_column(audience, way, rows)) for way in ways]
        assert len({one["digest"] for _, one in told}) == 1, f"{audience}: the ways do not agree"
        print(f"  {TITLES[audience]}: {rows:,} texts, {told[0][1]['valid'] / rows:.0%} valid")
        took = {way: [one["seconds"] for name, one in told if name == way] for way in ways}
        plain = median(took["apply"])
        for way, rounds in took.items():
            ratio = plain / median(rounds)
            note = f"{ratio:.1f} times; {max(one['mb'] for name, one in told if name == way):.0f} MB"
            if way == "ours":
                note += f"; goal {goal} times: {judged(ratio, goal)}; {spread(rounds, 's')}"
            show(f"  {WAYS[way]}", f"{median(rounds):.2f} s", note)


def one_column(audience: str, way: str, rows: int) -> dict[str, Any]:
    """What `tests.benchmarks.one_column` tells."""
    command = [sys.executable, "-m", "tests.benchmarks.one_column", audience, way, str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
