"""The whole matrix: three steps, each kind of fault, both databases, kill after kill. `make torture`.

    python -m tests.torture [--jobs 2] [--only send] [--scale 1.0]

Prints one line per scene and ends with 1 where anything was wrong. TORTURE_SEED=… repeats its kills.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from airflow_sms_flow.core.delivery import StepName
from tests.torture import faults
from tests.torture.postgres import PostgresServer, postgres_server
from tests.torture.scene import Scene, Vendor, vendor_process
from tests.torture.seeds import FRESH_SEED
from tests.torture.verdict import Verdict, judge

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_HEADS = ["step", "ledger", "vendor", "people", "due", "effects", "twice", "in doubt", "refused", "failed"]
_HEADS += ["missing", "kills", "mid-send", "doubts/kill", "most", "tries", "fullest window", "seconds"]


@dataclass(frozen=True)
class Cell:
    """One scene of the matrix."""

    step: StepName
    database: str
    fault_kind: str

    @property
    def name(self) -> str:
        """For seeds, folders and `--only`."""
        return f"{self.step.value} {self.database} {self.fault_kind}"

    @property
    def people_and_kills(self) -> tuple[int, int]:
        """The two that matter most get the most; a kind of its own shows in fewer people."""
        return (2000, 10) if self.fault_kind in (faults.NONE, faults.ALL) else (480, 4)


class Matrix:
    """Runs cells, each thread of it with a vendor process of its own."""

    def __init__(self, folder: Path, server: PostgresServer | None, stack: ExitStack, scale: float) -> None:
        self._folder, self._server, self._stack, self._scale = folder, server, stack, scale
        self._own = threading.local()
        self._lock = threading.Lock()
        self.problems: list[str] = []

    def run(self, cell: Cell) -> None:
        """One cell, and its line."""
        folder = self._folder / cell.name.replace(" ", "-")
        began = time.monotonic()
        try:
            verdict = self._verdict(cell, folder)
        except Exception:  # the other cells go on
            self._tell(cell.name + ": " + traceback.format_exc())
            self.problems.append(f"{cell.name}: broke off")
            return
        self.problems += [f"{cell.name}: {problem}" for problem in verdict.problems]
        self._tell(_line(_values(cell, verdict, time.monotonic() - began)))

    def _verdict(self, cell: Cell, folder: Path) -> Verdict:
        people, kills = cell.people_and_kills
        scene = Scene(
            self._vendor(),
            self._ledger_address(cell, folder),
            folder,
            cell.step,
            max(64, round(people * self._scale)),
            cell.fault_kind,
        )
        scene.besiege(random.Random(f"{FRESH_SEED} {cell.name}"), kills)
        return judge(scene, scene.finish())

    def _vendor(self) -> Vendor:
        if not hasattr(self._own, "vendor"):
            with self._lock:
                folder = self._folder / threading.current_thread().name
                self._own.vendor = self._stack.enter_context(vendor_process(folder))
        vendor: Vendor = self._own.vendor
        return vendor

    def _ledger_address(self, cell: Cell, folder: Path) -> str:
        if cell.database == SQLITE:
            return f"sqlite:///{folder}/ledger/ledger.db"
        assert self._server is not None
        return self._server.make_database("t_" + cell.name.replace(" ", "_"))

    def _tell(self, line: str) -> None:
        with self._lock:
            _say(line)


def _values(cell: Cell, verdict: Verdict, seconds: float) -> list[str]:
    per_kill = verdict.claimed_by_kills / verdict.kills if verdict.kills else 0.0
    counts = (
        verdict.recipients, verdict.due, verdict.effects, verdict.twice, verdict.in_doubt, verdict.refused,
        verdict.failed, verdict.missing, verdict.kills, verdict.kills_mid_send,
    )  # fmt: skip
    rest = [f"{per_kill:.1f}", f"{verdict.most_claimed_by_a_kill}", f"{verdict.tries}"]
    rest += [f"{verdict.highest_share:.0%}", f"{seconds:.0f}"]
    return [cell.step.value, cell.database, cell.fault_kind, *map(str, counts), *rest]


def _line(values: Sequence[str]) -> str:
    widths = [12, 11, 15, *(len(head) + 1 for head in _HEADS[3:])]
    texts = [value.ljust(width) for value, width in zip(values[:3], widths, strict=False)]
    return "".join(texts) + " ".join(v.rjust(w) for v, w in zip(values[3:], widths[3:], strict=True))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 where nobody was reached twice and nobody lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="scenes at once")
    parser.add_argument("--only", default="", help="scenes whose name holds this, such as 'send sqlite'")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of people")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        server = stack.enter_context(postgres_server())
        databases = (SQLITE, POSTGRESQL) if server is not None else (SQLITE,)
        cells = [
            cell
            for kind in faults.KINDS
            for step in StepName
            for database in databases
            if options.only in (cell := Cell(step, database, kind)).name
        ]
        _say(f"TORTURE_SEED={FRESH_SEED}, {len(cells)} scenes, {options.jobs} at once")
        if server is None:
            _say("PostgreSQL is not here: its scenes are left out")
        _say(_line(_HEADS))
        matrix = Matrix(folder, server, stack, options.scale)
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(matrix.run, cells))
    for problem in matrix.problems:
        _say(f"WRONG: {problem}")
    _say("nobody twice, nobody lost" if not matrix.problems else f"{len(matrix.problems)} things are wrong")
    return 1 if matrix.problems else 0


if __name__ == "__main__":
    sys.exit(main())
