"""One bulk lead export, from create to a checked file on disk (facts D.4)."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_sms_flow.clients.marketo_download import FileGone, download, private
from airflow_sms_flow.clients.marketo_records import (
    EarlierTry,
    ExportJob,
    ExportProgress,
    ExportResult,
    SmartListFilter,
    StaticListFilter,
    WrongFile,
)
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Unavailable

if TYPE_CHECKING:
    from airflow_sms_flow.clients.marketo import MarketoClient

#: Failed jobs, and completed ones without a file, are made anew once.
_JOBS = 2
_LONGEST_WAIT_SECONDS = 12 * 3600.0

OnProgress = Callable[[ExportProgress], None]


class LeadExport:
    """Runs one export. A job that is not finished when we leave is cancelled: places in the queue are few."""

    def __init__(
        self,
        client: MarketoClient,
        fields: Sequence[str],
        list_filter: SmartListFilter | StaticListFilter,
        to: Path,
        *,
        poll_interval_seconds: float,
        on_progress: OnProgress | None,
        earlier: EarlierTry,
    ) -> None:
        if not fields:
            raise InvalidInput("fields", [], "name at least one field to export")
        if poll_interval_seconds <= 0:
            remedy = "a positive number of seconds; Marketo refreshes a job's status once a minute"
            raise InvalidInput("poll_interval_seconds", poll_interval_seconds, remedy)
        self._client, self._fields, self._filter, self._to = client, list(fields), list_filter, to
        self._poll_interval_seconds = poll_interval_seconds
        self._on_progress = on_progress
        self._earlier = earlier
        self._resumable = earlier.export_id

    def run(self) -> ExportResult:
        """Create or take up, enqueue, wait, download, check. Raises as `MarketoClient.export_leads` does."""
        why = ""
        for _ in range(_JOBS):
            job = self._finished_job()
            if job.status != "completed":
                why = f"export {job.export_id} ended as {job.status}"
                continue
            try:
                return ExportResult(job.row_count, self._fetch(job), job.export_id)
            except FileGone:
                why = f"export {job.export_id} is completed, but its file answers 404"
        raise Unavailable(f"Marketo: {why}; a second job fared no better")

    def _finished_job(self) -> ExportJob:
        job = self._taken_up_job() or self._new_job()
        self._say(ExportProgress(job.export_id, job.status))
        finished = False
        try:
            if job.status == "created":
                self._client.enqueue_export(job.export_id)
            job = self._wait(job.export_id)
            finished = True
            return job
        finally:
            if not finished:
                self._client.abandon_export(job.export_id)

    def _new_job(self) -> ExportJob:
        job = self._client.create_export(self._fields, self._filter)
        self._earlier.remember(job.export_id)
        return replace(job, status="created")

    def _taken_up_job(self) -> ExportJob | None:
        """The job of an earlier try, once, if Marketo still has it and it has not failed."""
        export_id, self._resumable = self._resumable, None
        if export_id is None:
            return None
        try:
            job = self._client.get_export(export_id)
        except (BugError, ConfigError):  # Marketo forgot it, or it belongs to another API user
            return None
        return None if job.status in ("failed", "canceled") else job

    def _wait(self, export_id: str) -> ExportJob:
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        while time.monotonic() < deadline:
            job = self._client.get_export(export_id)
            self._say(ExportProgress(export_id, job.status, 0, job.file_size))
            if job.status in ("completed", "failed", "canceled"):
                return job
            self._client.pause(self._poll_interval_seconds)
        raise Unavailable(
            f"export {export_id} is not finished after {_LONGEST_WAIT_SECONDS / 3600:.0f} hours"
        )

    def _fetch(self, job: ExportJob) -> int:
        def notify(done: int) -> None:
            self._say(ExportProgress(job.export_id, "downloading", done, job.file_size))

        try:
            size = download(self._client, job, self._to, notify, self._earlier.folders)
        except FileGone:
            if job.row_count != 0:
                raise
            size = 0
        # Whether an export of nobody has a file, and a header in it, is not published (facts D.4).
        return size or self._write_header(job)

    def _write_header(self, job: ExportJob) -> int:
        if job.row_count != 0:
            raise WrongFile(f"export {job.export_id}: Marketo gives an empty file, but not a count of 0")
        with open(self._to, "w", newline="", encoding="utf-8", opener=private) as file:
            csv.writer(file, lineterminator="\n").writerow(self._fields)
        return self._to.stat().st_size

    def _say(self, progress: ExportProgress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)
