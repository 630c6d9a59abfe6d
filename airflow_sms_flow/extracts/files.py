"""Which file of a folder is the newest extract, and which moment it speaks of.

Vibes names its extracts `<kind>_<company key>_<date>.<extension>`, on request otherwise (facts C.2 to C.5).
The date in the name is the only trace of the moment: a file's own time is that of the last copy.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.storage import file_system, local_path

_DATE = re.compile(r"(?<!\d)(20\d\d)([-_]?)(\d\d)\2(\d\d)(?!\d)")
#: "12:00 AM of the run day", in a zone that the vendor does not state. Its data centres are in the US and in
#: Europe; the earliest midnight there is two hours before that of UTC. Too early is the safe side: more
#: opt-outs then count as newer than the file.
_EARLIEST_MIDNIGHT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class ExtractFile:
    """One extract. What it says was true at `as_of` (aware UTC), or a few hours later."""

    path: str
    as_of: datetime


def find_extract(
    path: str, kind: str, company_key: str, *, max_age: timedelta, now: datetime, field: str = "extract"
) -> ExtractFile:
    """The extract at `path`: a file, or the newest of this kind and company in a folder.

    `kind` is how the names of such files begin, `current_subscribers` or `messages`. Raises `InvalidInput`
    where there is none, where its name holds no date or another company's key, and where it is older than
    `max_age`.
    """
    files, inner = file_system(path)
    if files.isdir(inner):
        found = _newest(path, files.ls(inner, detail=False), kind, company_key, field)
    elif files.exists(inner):
        found = _dated(path, kind, company_key, field)
    else:
        raise InvalidInput(field, path, "no such file or folder; name what Vibes delivered, or its folder")
    _check_age(found, max_age, now, field)
    return found


@contextmanager
def on_disk(path: str) -> Iterator[str]:
    """A file of this machine with the same contents: itself, or a private copy that is gone afterwards.

    Arrow's readers go on reading in threads of their own, which must not call back into Python while the
    interpreter ends.
    """
    local = local_path(path)
    if local is not None:
        yield str(local)
        return
    files, inner = file_system(path)
    with tempfile.TemporaryDirectory(prefix="sms_flow_") as folder:  # 0700
        files.get_file(inner, f"{folder}/extract")
        yield f"{folder}/extract"


def _check_age(found: ExtractFile, max_age: timedelta, now: datetime, field: str) -> None:
    age, hour = now - found.as_of, timedelta(hours=1)
    if age > max_age:
        remedy = (
            f"speaks of {found.as_of:%Y-%m-%d %H:%M} UTC, {age / hour:.0f} hours ago, and may be "
            f"{max_age / hour:.0f} hours old; fetch a newer one, or look why none was delivered"
        )
        raise InvalidInput(field, found.path, remedy)
    if age < -timedelta(days=1):
        raise InvalidInput(field, found.path, "the date in its name is in the future: is it the right file?")


def _newest(folder: str, paths: list[str], kind: str, company_key: str, field: str) -> ExtractFile:
    candidates = []
    for inner in paths:
        name = inner.rstrip("/").rpartition("/")[2]
        if _is_of(name, kind, company_key) and (as_of := _moment(name)) is not None:
            candidates.append(ExtractFile(f"{folder.rstrip('/')}/{name}", as_of))
    if not candidates:
        raise InvalidInput(
            field, folder, f"holds no file such as {kind}_{company_key}_2026-01-31.tsv; name the right folder"
        )
    return max(candidates, key=lambda one: (one.as_of, one.path))


def _dated(path: str, kind: str, company_key: str, field: str) -> ExtractFile:
    name = path.rstrip("/").rpartition("/")[2]
    if name.lower().startswith(f"{kind}_") and not _is_of(name, kind, company_key):
        remedy = (
            f"is not of the company {company_key}, judging by its name: Vibes calls its files "
            f"{kind}_{company_key}_2026-01-31.tsv"
        )
        raise InvalidInput(field, path, remedy)
    as_of = _moment(name)
    if as_of is None:
        remedy = f"its name must hold its date, as in {kind}_{company_key}_2026-01-31.tsv: nothing else tells"
        raise InvalidInput(field, path, remedy)
    return ExtractFile(path, as_of)


def _is_of(name: str, kind: str, company_key: str) -> bool:
    """Newer names hold the company's key, older ones go straight from the kind to the date. Nothing else may
    stand before the date: the key of another company may begin with ours."""
    lower = name.lower()
    ours = f"{kind}_{company_key.lower()}_"
    is_newer = lower.startswith(ours)
    rest = lower.removeprefix(ours) if is_newer else lower.removeprefix(kind).lstrip("_")
    return lower.startswith(kind) and bool(_DATE.match(rest))


def _moment(name: str) -> datetime | None:
    dates = _DATE.findall(name)
    if len(dates) != 1:
        return None
    year, _, month, day = dates[0]
    try:
        midnight = datetime(int(year), int(month), int(day), tzinfo=UTC)
    except ValueError:
        return None
    return midnight - _EARLIEST_MIDNIGHT
