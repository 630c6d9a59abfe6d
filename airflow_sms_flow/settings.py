"""The section `[sms_flow]` of Airflow's configuration, read when asked and checked before it is believed.

Also the guard of the ledger: where tasks run on several machines, a SQLite file or a plain folder would be
a fresh, empty one on each of them, and everybody would be texted again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from airflow_sms_flow.core.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from airflow.configuration import AirflowConfigParser

SECTION = "sms_flow"

Network: TypeAlias = IPv4Network | IPv6Network

#: Where Vibes' callbacks come from, both regions, as the vendor publishes it in its reference of callbacks
#: (facts B.5). The list may change: whoever uses it should read the vendor's mails.
VIBES_ADDRESSES = (
    *("35.155.139.143", "52.32.61.199", "35.161.244.84", "18.205.120.48", "52.22.43.57", "18.232.9.131"),
    *("34.243.232.57", "52.48.241.82", "34.249.188.130", "54.247.36.51", "34.253.250.65", "54.217.181.160"),
)
#: A callback is a kilobyte or two; this leaves room without letting a stranger fill the ledger.
_CALLBACK_BYTES = 262_144
_SMALLEST_CALLBACK_BYTES, _LARGEST_CALLBACK_BYTES = 4_096, 10_485_760

#: Address schemes whose files exist on one machine, or in one process, alone.
_LOCAL_SCHEMES = ("file", "local", "memory")
#: How an executor that runs its tasks beside the scheduler may be named in `[core] executor`.
_LOCAL_EXECUTORS = ("LocalExecutor", "airflow.executors.local_executor.LocalExecutor")
#: The program that container executors (Kubernetes, ECS, Batch) start on the other machine.
_CONTAINER_PROGRAM = "airflow.sdk.execution_time.execute_workload"


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Where the ledger is: in the database of an Airflow connection or in a SQLite file; one of the two."""

    conn_id: str | None
    sqlite_path: str | None


def storage_root() -> str:
    """Where audience files go: an absolute path, or an address such as `s3://conn@bucket/prefix`.

    A relative path counts from AIRFLOW_HOME, not from wherever a worker happens to have been started.
    """
    configured = _text("storage")
    if not configured:
        return _in_airflow_home("files")
    if "://" in configured:
        return configured
    return os.path.join(_airflow_home(), os.path.expanduser(configured))


def ledger_settings() -> LedgerSettings:
    """The connection of `[sms_flow] ledger_conn_id`, or else the SQLite file in AIRFLOW_HOME."""
    conn_id = _text("ledger_conn_id")
    if conn_id:
        return LedgerSettings(conn_id=conn_id, sqlite_path=None)
    return LedgerSettings(conn_id=None, sqlite_path=_in_airflow_home("ledger.db"))


def keep_files_days() -> int:
    """How many days audience files are kept; at least 1. Raises `InvalidInput` for anything else."""
    configured = _text("keep_files_days") or "30"
    if not configured.isdecimal() or int(configured) < 1:
        raise InvalidInput(_name("keep_files_days"), configured, "a whole number of days, at least 1")
    return int(configured)


def marketo_poll_seconds() -> float:
    """Seconds between two looks at a Marketo export, where the operator does not say."""
    return _positive_seconds("marketo_poll_seconds")


def opt_in_poll_seconds() -> float:
    """Seconds between two looks of the opt-in sensor at the ledger, where the sensor does not say."""
    return _positive_seconds("opt_in_poll_seconds")


def opt_in_calls_per_minute() -> int:
    """How many calls all opt-in sensors of one campaign make in a minute while people may still answer."""
    configured = _text("opt_in_calls_per_minute") or "100"
    # 6,000 is all that an account may do.
    if not configured.isdecimal() or not 1 <= int(configured) <= 6_000:
        remedy = "a whole number of calls, from 1 to 6000"
        raise InvalidInput(_name("opt_in_calls_per_minute"), configured, remedy)
    return int(configured)


def offered_lists() -> dict[str, str]:
    """The Vibes lists that a trigger form offers, id to name, in the order of the configuration.

    Read while a DAG file is parsed, so that a mistake shows as that DAG's import error.
    """
    configured = _text("lists")
    remedy = 'a JSON object from list id to name, such as {"1201": "Store news"}'
    try:
        lists = json.loads(configured or "{}")
    except ValueError:
        raise InvalidInput(_name("lists"), configured, remedy) from None
    if not isinstance(lists, dict) or not all(
        key.strip() and isinstance(name, str) and name.strip() for key, name in lists.items()
    ):
        raise InvalidInput(_name("lists"), configured, remedy)
    return {key.strip(): name.strip() for key, name in lists.items()}


def pool() -> str:
    """The Airflow pool that sending tasks share."""
    return _text("pool") or "default_pool"


def callback_conn_ids() -> tuple[str, ...]:
    """The Vibes connections whose `callback_secrets` open the door for callbacks; at least one."""
    return _words("callback_conn_ids") or ("vibes_default",)


def callback_url(given: str | None = None) -> str:
    """The address of the API server as Vibes reaches it, without a trailing slash.

    `given`, or else the option, or else `[api] base_url`. Raises `InvalidInput` for what is no http(s)
    address.
    """
    configured = (given or "").strip() or _text("callback_url")
    configured = configured or str(_conf().get("api", "base_url", fallback="") or "").strip()
    remedy = "the address at which Vibes reaches the API server, such as https://airflow.example.com"
    try:
        parts = urlsplit(configured)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    # Such an address may carry a secret: it is not repeated.
    if "@" in configured or "?" in configured or "#" in configured:
        raise InvalidInput(_name("callback_url"), None, f"{remedy}, without user, password or query")
    if not usable or any(character.isspace() for character in configured):
        raise InvalidInput(_name("callback_url"), configured or None, remedy)
    return configured.rstrip("/")


def callback_sources() -> tuple[Network, ...] | None:
    """The networks that callbacks may come from; None: any. `vibes` stands for the vendor's addresses."""
    words = [
        part
        for word in _words("callback_sources")
        for part in (VIBES_ADDRESSES if word == "vibes" else (word,))
    ]
    return _networks("callback_sources", words, "the word vibes") if words else None


def callback_trusted_proxies() -> tuple[Network, ...]:
    """The reverse proxies whose word about the caller's address (X-Forwarded-For) is believed."""
    return _networks("callback_trusted_proxies", _words("callback_trusted_proxies"))


def callback_max_bytes() -> int:
    """How large a callback's body may be. Raises `InvalidInput` for what would refuse ordinary ones."""
    configured = _text("callback_max_bytes") or str(_CALLBACK_BYTES)
    least, most = _SMALLEST_CALLBACK_BYTES, _LARGEST_CALLBACK_BYTES
    if not configured.isdecimal() or not least <= int(configured) <= most:
        raise InvalidInput(_name("callback_max_bytes"), configured, f"a whole number from {least} to {most}")
    return int(configured)


def allow_local() -> bool:
    """Whether somebody vouches that every machine sees the same folder and the same ledger."""
    configured = (_text("allow_local") or "false").lower()
    if configured not in ("true", "false"):
        raise InvalidInput(_name("allow_local"), configured, "True or False")
    return configured == "true"


def is_local_address(address: str) -> bool:
    """Whether files at this path or address are seen by one machine alone."""
    scheme, separator, _ = address.partition("://")
    return not separator or scheme.lower() in _LOCAL_SCHEMES


def refuse_local_parts_on_other_machines(*, ledger_is_local: bool | None = None) -> None:
    """Raise `ConfigError` where this task's ledger or files may be unknown to the next machine.

    Every operator calls it at its start, before the first request. `ledger_is_local` says whether the
    ledger is a file, where the caller knows better than the settings (a connection of the kind sqlite).
    """
    if ledger_is_local is None:
        ledger_is_local = ledger_settings().conn_id is None
    local_parts = []
    if ledger_is_local:
        local_parts.append(
            f"the ledger is a SQLite file (set {_name('ledger_conn_id')} to a postgres connection)"
        )
    if is_local_address(storage_root()):
        local_parts.append(
            f"audience files go to a local folder (set {_name('storage')} to a shared address such as s3://…)"
        )
    if not local_parts or allow_local():
        return
    elsewhere = _why_tasks_may_run_elsewhere()
    if elsewhere is not None:
        raise ConfigError(
            f"{elsewhere}, so tasks may run on several machines, but {' and '.join(local_parts)}. "
            "Each machine would begin with an empty one, and people would be texted again. "
            f"If all machines do share them, set {_name('allow_local')} = True."
        )


def _why_tasks_may_run_elsewhere() -> str | None:
    """What shows that another machine may run tasks, or None.

    The setting alone does not decide: the official Helm chart tells its worker pods that their executor is
    LocalExecutor. So the marks that container executors leave in a task's own process count, too.
    """
    if _runs_inside_dag_test():
        return None
    if os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD"):
        return "This task runs in a pod of the KubernetesExecutor"
    program = getattr(sys.modules.get("__main__"), "__spec__", None)
    if getattr(program, "name", None) == _CONTAINER_PROGRAM:
        return "This task runs in a container of its own"
    configured = str(_conf().get("core", "executor", fallback="LocalExecutor"))
    others = [name for name in _executor_names(configured) if name not in _LOCAL_EXECUTORS]
    return f"[core] executor names {', '.join(others)}" if others else None


def _executor_names(configured: str) -> list[str]:
    """The executors of `[core] executor` without their aliases and teams.

    The full form is `LocalExecutor;team1=CeleryExecutor,alias:module.Class`.
    """
    entries = configured.replace(";", ",").split(",")
    return [entry.split("=")[-1].split(":")[-1].strip() for entry in entries if entry.strip(" =")]


def _runs_inside_dag_test() -> bool:
    """Whether this is `dag.test()`, `airflow dags test` or `airflow tasks test`: all in this one process.

    There Airflow puts an in-process stand-in where a task otherwise finds the pipe to its supervisor. It is
    looked for only where Airflow has already loaded both modules; in any other process it cannot be there.
    """
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    supervisor = sys.modules.get("airflow.sdk.execution_time.supervisor")
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    stand_in: Any = getattr(supervisor, "InProcessSupervisorComms", None)
    return stand_in is not None and isinstance(comms, stand_in)


def _name(option: str) -> str:
    return f"[{SECTION}] {option}"


def _positive_seconds(option: str) -> float:
    configured = _text(option) or "60"
    try:
        seconds = float(configured)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise InvalidInput(_name(option), configured, "a number of seconds above 0, such as 60")
    return seconds


def _networks(option: str, words: Iterable[str], or_else: str = "") -> tuple[Network, ...]:
    remedy = "addresses or networks such as 203.0.113.7, 10.0.0.0/8, 2001:db8::/32"
    found = []
    for word in words:
        try:
            found.append(ip_network(word))
        except ValueError:
            raise InvalidInput(_name(option), word, f"{or_else}, {remedy}".strip(", ")) from None
    return tuple(found)


def _words(option: str) -> tuple[str, ...]:
    """An option that lists things, separated by commas, blanks or both."""
    return tuple(_text(option).replace(",", " ").split())


def _text(option: str) -> str:
    return str(_conf().get(SECTION, option, fallback="") or "").strip()


def _in_airflow_home(name: str) -> str:
    return os.path.join(_airflow_home(), SECTION, name)


def _airflow_home() -> str:
    from airflow.configuration import get_airflow_home

    return os.path.abspath(get_airflow_home())


def _conf() -> AirflowConfigParser:
    """Airflow's configuration, from the place that tasks may read it on every Airflow from 3.1 on."""
    from airflow.providers.common.compat.sdk import conf

    # Parsers of one family: the SDK's own from 3.2 on, the core's before.
    return cast("AirflowConfigParser", conf)
