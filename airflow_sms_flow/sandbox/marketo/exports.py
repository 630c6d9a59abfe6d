"""Marketo's bulk lead extract: the jobs, their states, their limits and their files. No HTTP here."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from airflow_sms_flow.sandbox.marketo.models import (
    FIELD_NAMES,
    Instance,
    Lead,
    MarketoError,
    MarketoList,
    central_day,
)

DELIMITERS = {"CSV": ",", "TSV": "\t", "SSV": ";"}
_LIST_FILTERS = ("smartListId", "smartListName", "staticListId", "staticListName")
_FILTERS = (*_LIST_FILTERS, "createdAt", "updatedAt")
_NOT_EVERYWHERE = ("smartListId", "smartListName", "updatedAt")
_LONGEST_SPAN = timedelta(days=31)


@dataclass(slots=True)
class Job:
    """One export job."""

    export_id: str
    client_id: str
    fields: list[str]
    headers: dict[str, str]
    filter: dict[str, Any]
    format: str
    created_at: datetime
    status: str = "Created"
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    file: bytes = b""
    records: int = 0
    checksum: str = ""
    error: str = ""
    will_fail: bool = False


class Exports:
    """All export jobs of an instance."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.jobs: dict[str, Job] = {}
        self._bytes_by_day: Counter[str] = Counter()

    def create(self, client_id: str, body: dict[str, Any]) -> Job:
        """A new job, not queued yet."""
        fields, wanted = body.get("fields"), body.get("filter")
        if not isinstance(fields, list) or not fields or not all(isinstance(name, str) for name in fields):
            raise MarketoError("1002", "Missing value for required parameter 'fields'")
        unknown = [name for name in fields if name not in FIELD_NAMES]
        if unknown:
            raise MarketoError("1006", f"Field '{unknown[0]}' not found")
        if not isinstance(wanted, dict) or len(wanted) != 1 or next(iter(wanted)) not in _FILTERS:
            raise MarketoError("1003", f"Invalid filter: give exactly one of {', '.join(_FILTERS)}")
        self._check_filter(wanted)
        export_format = str(body.get("format", "CSV")).upper()
        if export_format not in DELIMITERS:
            raise MarketoError("1003", f"Invalid value for format: {body['format']}")
        headers = body.get("columnHeaderNames") or {}
        if not isinstance(headers, dict):
            raise MarketoError("1001", "Invalid value for columnHeaderNames")
        now = self.instance.clock.now()
        job = Job(str(uuid4()), client_id, fields, headers, wanted, export_format, now)
        self.jobs[job.export_id] = job
        return job

    def _check_filter(self, wanted: dict[str, Any]) -> None:
        name, value = next(iter(wanted.items()))
        if name in _NOT_EVERYWHERE and not self.instance.settings.smart_list_filter_available:
            raise MarketoError("1035", f"Unsupported filter type for target subscription: {name}")
        if name in _LIST_FILTERS:
            self._list(name, value)
            return
        start, end = _span(name, value)
        if end - start > _LONGEST_SPAN:
            raise MarketoError("1003", f"Invalid {name}: the span must not exceed 31 days")

    def _list(self, name: str, value: Any) -> MarketoList:
        lists = self.instance.smart_lists if name.startswith("smart") else self.instance.static_lists
        if name.endswith("Id") and type(value) is not int:
            raise MarketoError("1001", f"Invalid value '{value}'. Required of type 'Integer'")
        for one in lists.values():
            if value == (one.list_id if name.endswith("Id") else one.name):
                return one
        raise MarketoError("1013", f"Object (list) with {name} '{value}' not found")

    def get(self, client_id: str, export_id: str) -> Job:
        """A job of this API user; nobody else sees it."""
        job = self.jobs.get(export_id)
        if job is None or job.client_id != client_id:
            raise MarketoError("1013", f"Export job '{export_id}' not found")
        return job

    def enqueue(self, job: Job) -> None:
        """Put a created job into the queue. 1029 has three meanings here."""
        settings, waiting = self.instance.settings, self._with_status("Queued", "Processing")
        if job.status in ("Queued", "Processing", "Completed"):
            raise MarketoError("1029", "Job already queued")
        if job.status != "Created":
            raise MarketoError("1003", f"Job is {job.status} and cannot be queued")
        if self._bytes_by_day[central_day(self.instance.clock.now())] >= settings.export_bytes_per_day:
            raise MarketoError("1029", "Export daily quota exceeded")
        if len(waiting) >= settings.export_queue_limit:
            raise MarketoError("1029", "Too many jobs in queue")
        job.status, job.queued_at = "Queued", self.instance.clock.now()
        self.instance.clock.call_in(settings.export_queued_seconds, self._start_waiting)

    def _with_status(self, *statuses: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.status in statuses]

    def _start_waiting(self) -> None:
        """Start queued jobs, oldest first, as far as there is room and their time in the queue is over."""
        settings, now = self.instance.settings, self.instance.clock.now()
        ripe = now - timedelta(seconds=settings.export_queued_seconds)
        for job in self._with_status("Queued"):
            full = len(self._with_status("Processing")) >= settings.export_running_limit
            if not full and job.queued_at is not None and job.queued_at <= ripe:
                self._start(job)

    def _start(self, job: Job) -> None:
        """Membership is that of this moment, not of the job's creation."""
        clock = self.instance.clock
        job.status, job.started_at = "Processing", clock.now()
        try:
            leads = self._leads(job)
        except MarketoError as error:  # the list was deleted meanwhile
            job.status, job.error, job.finished_at = "Failed", str(error), clock.now()
            return
        job.records, job.file = len(leads), write_file(leads, job.fields, job.headers, DELIMITERS[job.format])
        clock.call_in(self.instance.settings.export_processing_seconds, lambda: self._finish(job))

    def _leads(self, job: Job) -> list[Lead]:
        name, value = next(iter(job.filter.items()))
        if name in _LIST_FILTERS:
            return self.instance.members(self._list(name, value))
        start, end = _span(name, value)
        leads = self.instance.leads.values()
        return [
            lead
            for lead in leads
            if lead[name] and start <= _aware(datetime.fromisoformat(lead[name])) <= end
        ]

    def _finish(self, job: Job) -> None:
        if job.status == "Processing":
            job.finished_at = self.instance.clock.now()
            job.status = "Failed" if job.will_fail else "Completed"
            if job.will_fail:
                job.error, job.file = "The sandbox was told to fail this export", b""
            else:
                job.checksum = "sha256:" + hashlib.sha256(job.file).hexdigest()
                self._bytes_by_day[central_day(job.finished_at)] += len(job.file)
        self._start_waiting()

    def cancel(self, job: Job) -> None:
        """Stop a job that is not over yet."""
        if job.status in ("Completed", "Failed", "Cancelled"):
            raise MarketoError("1003", f"Job is {job.status} and cannot be cancelled")
        job.status = "Cancelled"
        self.instance.clock.call_in(0, self._start_waiting)


def write_file(leads: Iterable[Lead], fields: list[str], headers: dict[str, str], delimiter: str) -> bytes:
    """The export file: nothing is `null`, booleans are lower case, quotes only where needed."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow([headers.get(name, name) for name in fields])
    writer.writerows([[_cell(lead[name]) for name in fields] for lead in leads])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None or value == "":
        return "null"
    if value is True:
        return "true"
    return "false" if value is False else value


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _span(name: str, value: Any) -> tuple[datetime, datetime]:
    try:
        start, end = (datetime.fromisoformat(value[edge]) for edge in ("startAt", "endAt"))
        return _aware(start), _aware(end)
    except (TypeError, KeyError, ValueError):
        raise MarketoError("1003", f"Invalid {name}: give startAt and endAt in ISO-8601") from None
