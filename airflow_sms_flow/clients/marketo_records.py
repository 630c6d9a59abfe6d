"""What Marketo tells us, as frozen records, and the filters of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_sms_flow.clients._wire import as_object, as_text
from airflow_sms_flow.core.errors import ConfigError, Unavailable


class SmartListFilterUnavailable(ConfigError):
    """This subscription cannot export by smart list (code 1035).

    Fill a static list from the smart list by a smart campaign and export that, or ask Adobe for the filter.
    """


class DownloadBroken(Unavailable):
    """The connection broke again and again while the file came; what is there of it stays for another try."""


class WrongFile(Unavailable):
    """The file is not the one that Marketo announced, or no CSV. Another export may be right."""


@dataclass(frozen=True, slots=True)
class SmartListFilter:
    """The members of a smart list, as they are when Marketo starts working on the job."""

    list_id: int

    def body(self) -> dict[str, int]:
        """As the create call wants it."""
        return {"smartListId": self.list_id}


@dataclass(frozen=True, slots=True)
class StaticListFilter:
    """The members of a static list, likewise."""

    list_id: int

    def body(self) -> dict[str, int]:
        """As the create call wants it."""
        return {"staticListId": self.list_id}


@dataclass(frozen=True, slots=True)
class AssetList:
    """A smart or static list."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class LeadField:
    """A field of the lead database. Tokens name it by display name, the API by REST name."""

    rest_name: str
    display_name: str
    data_type: str


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A bulk export job. `status` is lower case, `canceled` in one spelling; sizes only once completed."""

    export_id: str
    status: str
    row_count: int | None = None
    file_size: int | None = None  #: bytes
    sha256: str | None = None  #: lower-case hex of the whole file


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is: a job status, or `downloading` with bytes done and, where known, of how many."""

    export_id: str
    status: str
    bytes_done: int = 0
    bytes_total: int | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A finished export. `rows` is Marketo's own count, if it gave one; `bytes` is the file's size."""

    rows: int | None
    bytes: int
    export_id: str


@dataclass(frozen=True, slots=True)
class EarlierTry:
    """What a killed or broken try of the same export left; where none of it is of use, we start anew."""

    export_id: str | None = None  #: its job
    folders: Sequence[Path] = ()  #: where a part of its file may lie
    remember: Callable[[str], None] = lambda export_id: None  #: told the id of each job that is made


def parse_asset(value: object) -> AssetList:
    """One smart or static list."""
    item = as_object(value)
    return AssetList(_number(item, "id"), as_text(item.get("name")) or "")


def parse_field(value: object) -> LeadField | None:
    """One field of describe.json; None for fields that REST does not offer."""
    item = as_object(value)
    rest = item.get("rest")
    name = as_text(rest.get("name")) if isinstance(rest, dict) else None
    if name is None:
        return None
    return LeadField(name, as_text(item.get("displayName")) or name, as_text(item.get("dataType")) or "")


def parse_job(value: object) -> ExportJob:
    """One export job, from create, enqueue, status or cancel."""
    item = as_object(value)
    export_id, status = as_text(item.get("exportId")), as_text(item.get("status"))
    if export_id is None or status is None:
        raise ValueError("a job without exportId or status")
    checksum = (as_text(item.get("fileChecksum")) or "").lower()
    return ExportJob(
        export_id,
        status.lower().replace("cancelled", "canceled"),
        _number(item, "numberOfRecords") if item.get("numberOfRecords") is not None else None,
        _number(item, "fileSize") if item.get("fileSize") is not None else None,
        checksum.removeprefix("sha256:") if checksum.startswith("sha256:") else None,
    )


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(as_text(item.get(name)) or "")
