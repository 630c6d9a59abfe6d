"""The house's plan, held: which part may import which, and what a DAG file may load.

    operators, sensors, triggers, plugin
        -> hooks, dispatch, steps, storage, settings -> clients, ledger -> core

The sandbox stands apart: a fake that shares the client's code shares its misunderstandings.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import airflow_sms_flow

PACKAGE = "airflow_sms_flow"
ROOT = Path(airflow_sms_flow.__file__).parent

#: Each part may import its own floor and those below it. A new part must be given its floor here.
FLOORS = {
    0: {"core", "provider_info"},
    1: {"clients", "ledger"},
    2: {
        "hooks",
        "dispatch",
        "extracts",
        "merging",
        "message_log",
        "mirror",
        "new_people",
        "courier",
        "outage",
        "params",
        "preparation",
        "progress",
        "references",
        "results",
        "rings",
        "row_groups",
        "sources",
        "steps",
        "storage",
        "store_file",
        "settings",
        "waiting",
    },
    3: {"assets", "operators", "sensors", "triggers", "plugin"},
    4: {"__init__", "__main__", "commands", "demo"},
}
FLOOR_OF = {part: floor for floor, parts in FLOORS.items() for part in parts}
#: Parts that run without Airflow: in a bare process, in a test, in the command line.
WITHOUT_AIRFLOW = {"core", "clients", "ledger", "dispatch", "courier", "progress", "steps", "provider_info"}
#: Parts that a DAG file, or every component of Airflow at its start, imports.
LOADED_WITH_DAGS = {
    "__init__",
    "operators",
    "sensors",
    "triggers",
    "hooks",
    "plugin",
    "settings",
    "provider_info",
}
HEAVY = {"numpy", "pandas", "phonenumbers", "pyarrow", "requests", "sqlalchemy"}
#: What the pure part may use beyond Python's own library, and what it may not use of that.
CORE_LIBRARIES = {"babel", "numpy", "pandas", "phonenumbers", "pyarrow"}
IMPURE = {"asyncio", "http", "random", "socket", "sqlite3", "subprocess", "threading", "time", "urllib"}
OUTSIDE_WORLD = {"environ", "getenv", "now", "today", "utcnow"}


@dataclass(frozen=True)
class Import:
    """One import: in which file and line, of what, and whether it runs as soon as the module is imported."""

    where: str
    target: str
    at_top: bool

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]

    @property
    def part(self) -> str | None:
        """The part of our own house that is imported, or None for somebody else's library."""
        names = self.target.split(".")
        if names[0] != PACKAGE:
            return None
        return names[1] if len(names) > 1 and names[1] in {*FLOOR_OF, "sandbox"} else "__init__"


def part_of(file: Path) -> str:
    name = file.relative_to(ROOT).parts[0]
    return name.removesuffix(".py")


def files(*parts: str) -> list[Path]:
    return [file for file in sorted(ROOT.rglob("*.py")) if not parts or part_of(file) in parts]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file, inside functions too; `from x import y` counts as `x.y`."""
    where = str(file.relative_to(ROOT.parent))

    def walk(node: ast.AST, at_top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(f"{where}:{child.lineno}", alias.name, at_top)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{where}:{child.lineno}: say the whole name, not a relative one"
                for alias in child.names:
                    yield Import(f"{where}:{child.lineno}", f"{child.module}.{alias.name}", at_top)
            else:
                deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(
                    child
                )
                yield from walk(child, at_top and not deferred)

    yield from walk(ast.parse(file.read_text()), True)


def described(found: list[Import]) -> str:
    return "\n".join(f"{found_import.where} imports {found_import.target}" for found_import in found)


def run_python(program: str) -> Any:
    """Run it in a fresh process; what its last line says, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_part_has_its_floor() -> None:
    """A new module or folder is placed in the plan before anything imports it."""
    parts = {part_of(file) for file in files()} - {"sandbox"}
    assert parts <= set(FLOOR_OF), f"give them a floor in FLOORS: {sorted(parts - set(FLOOR_OF))}"


def test_arrows_point_down() -> None:
    """No part imports one above its own floor."""
    wrong = [
        found
        for file in files(*FLOOR_OF)
        for found in imports(file)
        if found.part not in (None, "__init__") and FLOOR_OF.get(found.part, 0) > FLOOR_OF[part_of(file)]
    ]
    assert not wrong, described(wrong)


def test_provider_info_imports_nothing_of_ours() -> None:
    """Airflow reads it in every process, so it must not pull in the rest."""
    wrong = [found for found in imports(ROOT / "provider_info.py") if found.part is not None]
    assert not wrong, described(wrong)


def test_the_sandbox_stands_apart() -> None:
    """It uses Python's own library and itself, and nothing of ours uses it but the demo, which starts it."""
    inside = [
        found
        for file in files("sandbox")
        for found in imports(file)
        if found.part != "sandbox" and found.library not in sys.stdlib_module_names
    ]
    users = files(*(set(FLOOR_OF) - {"demo"}))
    outside = [found for file in users for found in imports(file) if found.part == "sandbox"]
    assert not inside + outside, described(inside + outside)


def test_the_core_is_pure() -> None:
    """Values in, values out: no Airflow, HTTP, SQL, environment, clock, chance or sleep."""
    wrong = [
        found
        for file in files("core")
        for found in imports(file)
        if found.part != "core"
        and (
            found.library in IMPURE
            or found.library not in CORE_LIBRARIES | set(sys.stdlib_module_names) | {"__future__"}
        )
    ]
    assert not wrong, described(wrong)


def test_the_core_asks_neither_the_clock_nor_the_environment() -> None:
    """The time comes in as an argument, so that a test can choose it; so does every setting."""
    asked = [
        f"{file.relative_to(ROOT.parent)}:{node.lineno} uses {ast.unparse(node)}"
        for file in files("core")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in OUTSIDE_WORLD
    ]
    assert not asked, "\n".join(asked)


def test_the_engine_knows_nothing_of_airflow() -> None:
    """Clients, ledger and dispatch run in any Python process, which is how they are tested."""
    wrong = [
        found for file in files(*WITHOUT_AIRFLOW) for found in imports(file) if found.library == "airflow"
    ]
    assert not wrong, described(wrong)


def test_what_a_dag_file_imports_keeps_heavy_libraries_inside_methods() -> None:
    """Parsing a DAG must stay cheap."""
    wrong = [
        found
        for file in files(*LOADED_WITH_DAGS)
        for found in imports(file)
        if found.at_top and found.library in HEAVY
    ]
    assert not wrong, described(wrong)


def test_importing_operators_sensors_and_hooks_loads_no_heavy_library() -> None:
    """The same at run time, through every module in between; what Airflow's own bases load does not count."""
    modules = [f"{PACKAGE}.{part}" for part in ("operators", "sensors", "triggers", "plugin")]
    modules += [f"{PACKAGE}.hooks.{name}" for name in ("vibes", "marketo", "ledger")]
    program = f"""
import importlib, json, sys
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.plugins_manager import AirflowPlugin
from airflow.triggers.base import BaseTrigger
loaded_by = {{}}
for module in {modules!r}:
    before = set(sys.modules)
    importlib.import_module(module)
    loaded_by[module] = sorted({HEAVY!r} & (set(sys.modules) - before))
print(json.dumps(loaded_by))
"""
    assert run_python(program) == {module: [] for module in modules}


def test_importing_the_package_imports_nothing_else() -> None:
    """`import airflow_sms_flow` is free; `SmsMessage` is loaded at its first use."""
    program = f"import json, sys, {PACKAGE}; print(json.dumps(sorted(sys.modules)))"
    assert {name for name in run_python(program) if name.startswith(PACKAGE)} == {PACKAGE}
