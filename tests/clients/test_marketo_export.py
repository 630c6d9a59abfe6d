"""One export from create to a checked file, whatever breaks on the way: facts D.4."""

from __future__ import annotations

import hashlib
import re
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_sms_flow.clients.marketo import (
    ExportProgress,
    ExportResult,
    MarketoClient,
    SmartListFilter,
    StaticListFilter,
)
from airflow_sms_flow.core.errors import ConfigError, InvalidInput, QuotaExhausted, Stopped, Unavailable
from tests.clients.scripted_server import Request, ScriptedServer, Sleeps, Step, answer, cut, reset
from tests.clients.test_marketo import bad, good, token

Make = Callable[..., MarketoClient]
CONTENT = b"id,mobilePhone\n" + b"".join(b"%d,+1 202 555 0132\n" % lead for lead in range(20_000))


class Marketo:
    """Plays one instance: what each call answers is a list of steps, the last of them for ever."""

    def __init__(self, content: bytes = CONTENT, rows: int | None = 20_000) -> None:
        self.content = content
        completed = {
            "status": "Completed",
            "numberOfRecords": rows,
            "fileSize": len(content),
            "fileChecksum": "sha256:" + hashlib.sha256(content).hexdigest().upper(),
        }
        self.completed = self.job(**completed)
        self.script: dict[str, list[Step]] = {
            "token": [token()],
            "create": [self.job(status="Created")],
            "enqueue": [self.job(status="Queued")],
            "status": [self.job(status="Queued"), self.job(status="Processing"), self.completed],
            "file": [self.file],
            "cancel": [self.job(status="Cancelled")],
        }

    @staticmethod
    def job(**fields: object) -> Step:
        return good({"exportId": "e-1", "format": "CSV", "createdAt": "2026-01-02T03:04:05Z", **fields})

    def file(self, request: Request, peer: socket.socket) -> bool:
        """The file as Marketo gives it, with Range."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if found is None:
            return answer(200, self.content)(request, peer)
        first, last = int(found[1]), int(found[2])
        ranged = {"Content-Range": f"bytes {first}-{last}/{len(self.content)}"}
        return answer(206, self.content[first : last + 1], headers=ranged)(request, peer)

    def __call__(self, request: Request, peer: socket.socket) -> bool:
        call = request.path.rpartition("/")[2].removesuffix(".json")
        steps = self.script[call]
        return (steps.pop(0) if len(steps) > 1 else steps[0])(request, peer)


@pytest.fixture
def instance() -> Marketo:
    """A Marketo that works."""
    return Marketo()


class Stage:
    """A server that plays `instance`, a client of it, and where the file goes."""

    def __init__(self, server: ScriptedServer, client: MarketoClient, to: Path) -> None:
        self.server, self.client, self.to = server, client, to

    def export(self, **options: Any) -> ExportResult:
        return self.client.export_leads(["id", "mobilePhone"], SmartListFilter(1234), self.to, **options)

    def calls(self) -> list[str]:
        return [request.path.rpartition("/")[2].removesuffix(".json") for request in self.server.requests]


@pytest.fixture
def stage(instance: Marketo, make_marketo: Make, tmp_path: Path) -> Any:
    """The instance on a real port."""
    with ScriptedServer(forever=instance) as server:
        yield Stage(server, make_marketo(server.url), tmp_path / "leads.csv")


def test_an_export_arrives_whole_and_private(stage: Stage, sleeps: Sleeps) -> None:
    """Create, enqueue, poll, download; then the file stands under its name, and nobody else may read it."""
    seen: list[ExportProgress] = []
    result = stage.export(poll_interval_seconds=60, on_progress=seen.append)
    assert result == ExportResult(rows=20_000, bytes=len(CONTENT), export_id="e-1")
    assert stage.to.read_bytes() == CONTENT
    assert stat.S_IMODE(stage.to.stat().st_mode) == 0o600
    assert list(stage.to.parent.iterdir()) == [stage.to]
    assert stage.calls() == ["token", "create", "enqueue", "status", "status", "status", "file"]
    assert stage.server.requests[1].json() == {
        "fields": ["id", "mobilePhone"],
        "format": "CSV",
        "filter": {"smartListId": 1234},
    }
    assert sleeps.total == pytest.approx(120)
    assert [one.status for one in seen][:4] == ["created", "queued", "processing", "completed"]
    assert (seen[-1].bytes_done, seen[-1].bytes_total) == (len(CONTENT), len(CONTENT))


def test_a_static_list_is_exported_by_its_own_filter(stage: Stage) -> None:
    """The fallback where the subscription has no smart list filter."""
    stage.client.export_leads(["id"], StaticListFilter(7), stage.to)
    assert stage.server.requests[1].json()["filter"] == {"staticListId": 7}


def test_a_broken_download_goes_on_where_it_broke(stage: Stage, instance: Marketo) -> None:
    """Range from the first missing byte to the last one; three breaks are three more requests."""
    size = len(CONTENT)
    instance.script["file"] = [cut(200, CONTENT, 100_000), reset, _ranged_cut(70_000), instance.file]
    stage.export(poll_interval_seconds=1)
    assert stage.to.read_bytes() == CONTENT
    ranges = [request.headers.get("range") for request in stage.server.requests[-4:]]
    assert ranges[:3] == [None, f"bytes=100000-{size - 1}", f"bytes=100000-{size - 1}"]
    assert ranges[3] == f"bytes=170000-{size - 1}"


def _ranged_cut(keep: int) -> Step:
    def step(request: Request, peer: socket.socket) -> bool:
        first = int(request.headers["range"].removeprefix("bytes=").split("-")[0])
        ranged = {"Content-Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return cut(206, CONTENT[first:], keep, headers=ranged)(request, peer)

    return step


@pytest.mark.parametrize(
    "second",
    [
        answer(200, CONTENT),
        answer(416),
        answer(206, CONTENT[:9], headers={"Content-Range": "bytes 0-8/9"}),
        answer(206, CONTENT[:9]),
        answer(503, b"<html>"),
        bad(("606", "rate limit")),
        bad(("602", "token expired")),
        answer(200, b""),
    ],
)
def test_a_strange_answer_to_a_range_never_corrupts_the_file(
    stage: Stage, instance: Marketo, second: Step
) -> None:
    """A server that ignores or refuses the range starts the file anew; an error is never content."""
    instance.script["file"] = [cut(200, CONTENT, 100_000), second, instance.file]
    stage.export(poll_interval_seconds=1)
    assert stage.to.read_bytes() == CONTENT
    assert stage.calls().count("file") <= 3, "noticed at once, not by the checksum at the end"


def test_a_token_that_ends_before_the_download_is_renewed(stage: Stage, instance: Marketo) -> None:
    """The error comes as JSON in HTTP 200, where the file should be."""
    instance.script["file"] = [bad(("602", "expired")), instance.file]
    assert stage.export(poll_interval_seconds=1).bytes == len(CONTENT)
    assert stage.calls()[-3:] == ["file", "token", "file"]


def test_a_wrong_checksum_is_downloaded_once_more(stage: Stage, instance: Marketo) -> None:
    """The second download starts from the first byte."""
    wrong = CONTENT.replace(b"0132", b"0133", 1)
    instance.script["file"] = [answer(200, wrong), instance.file]
    stage.export(poll_interval_seconds=1)
    assert stage.to.read_bytes() == CONTENT
    assert stage.server.requests[-1].headers.get("range") is None


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_a_checksum_that_stays_wrong_leaves_no_file(stage: Stage, instance: Marketo, wrong: bytes) -> None:
    """Two downloads, then Airflow's retry; nothing half stands about."""
    instance.script["file"] = [answer(200, wrong)]
    with pytest.raises(Unavailable, match="checksum"):
        stage.export(poll_interval_seconds=1)
    assert stage.calls().count("file") == 2
    assert list(stage.to.parent.iterdir()) == []


def test_a_download_that_makes_no_headway_ends(stage: Stage, instance: Marketo) -> None:
    """Five breaks without a new byte are enough."""
    instance.script["file"] = [cut(200, CONTENT, 100_000), reset]
    with pytest.raises(Unavailable, match="again and again"):
        stage.export(poll_interval_seconds=1)
    assert stage.calls().count("file") == 6


@pytest.mark.parametrize("failed", ["Failed", "Canceled", "CANCELLED"])
def test_a_failed_job_is_made_anew_once(stage: Stage, instance: Marketo, failed: str) -> None:
    """Both spellings of cancelled; the second job may succeed."""
    instance.script["status"] = [instance.job(status=failed, errorMsg="x"), instance.completed]
    assert stage.export(poll_interval_seconds=1).rows == 20_000
    assert stage.calls().count("create") == 2
    assert "cancel" not in stage.calls()


def test_a_job_that_fails_twice_ends_the_export(stage: Stage, instance: Marketo) -> None:
    """It says how the job ended."""
    instance.script["status"] = [instance.job(status="Failed")]
    with pytest.raises(Unavailable, match="failed"):
        stage.export(poll_interval_seconds=1)
    assert stage.calls().count("create") == 2


def test_a_completed_job_without_a_file_is_made_anew_once(stage: Stage, instance: Marketo) -> None:
    """A plain-text 404 where the file should be has been seen with Marketo."""
    instance.script["file"] = [answer(404, b"File not found"), instance.file]
    assert stage.export(poll_interval_seconds=1).rows == 20_000
    instance.script["file"] = [answer(404, b"File not found")]
    with pytest.raises(Unavailable, match="404"):
        stage.export(poll_interval_seconds=1)


@pytest.mark.parametrize("step", [answer(404, b"File not found"), answer(200, b"")])
def test_an_export_of_nobody_is_a_file_with_a_header(
    instance: Marketo, make_marketo: Make, tmp_path: Path, step: Step
) -> None:
    """Whether Marketo has a file for an empty list is not published; the next task gets its columns."""
    nobody = Marketo(b"", rows=0)
    nobody.script["file"] = [step]
    with ScriptedServer(forever=nobody) as server:
        stage = Stage(server, make_marketo(server.url), tmp_path / "leads.csv")
        assert stage.export().rows == 0
    assert stage.to.read_text() == "id,mobilePhone\n"


def test_an_empty_file_of_somebody_is_never_taken_for_nobody(stage: Stage, instance: Marketo) -> None:
    """Without a count of 0 from Marketo, nothing in the file is a fault and not an empty list."""
    instance.script["status"] = [instance.job(status="Completed")]
    instance.script["file"] = [answer(200, b"")]
    with pytest.raises(Unavailable, match="empty"):
        stage.export()


def test_a_job_without_size_and_checksum_is_still_fetched(stage: Stage, instance: Marketo) -> None:
    """Numbers may be missing: then the end of the answer is the end of the file."""
    instance.script["status"] = [instance.job(status="completed")]
    assert stage.export() == ExportResult(None, len(CONTENT), "e-1")


@pytest.mark.parametrize("call", ["create", "enqueue"])
def test_a_full_queue_is_waited_for_in_minutes(
    stage: Stage, instance: Marketo, sleeps: Sleeps, call: str
) -> None:
    """Ten places, shared by everybody: one of them comes free."""
    full = bad(("1029", "Too many jobs (10) in queue"))
    instance.script[call][:0] = [full, full, full, full, full, full, full]
    stage.export(poll_interval_seconds=1)
    assert 360 < sleeps.total < 600


def test_a_queue_that_stays_full_ends_the_export(stage: Stage, instance: Marketo, sleeps: Sleeps) -> None:
    """Bounded: then the job that holds no place is cancelled and Airflow's retry takes over."""
    instance.script["enqueue"] = [bad(("1029", "Too many jobs in queue"))]
    with pytest.raises(Unavailable):
        stage.export(poll_interval_seconds=1)
    assert sleeps.total > 1200
    assert stage.calls()[-1] == "cancel"


def test_a_job_that_is_queued_already_goes_on(stage: Stage, instance: Marketo) -> None:
    """The answer to the first enqueue was lost; the second says that it had worked."""
    instance.script["enqueue"] = [reset, bad(("1029", "Job already queued"))]
    assert stage.export(poll_interval_seconds=1).rows == 20_000


def test_a_used_up_export_quota_waits_for_the_next_day(stage: Stage, instance: Marketo) -> None:
    """500 MB a day: the error says from when on it may be tried again."""
    instance.script["enqueue"] = [bad(("1029", "Export daily quota 500MB exceeded"))]
    with pytest.raises(QuotaExhausted) as caught:
        stage.export(poll_interval_seconds=1)
    assert caught.value.retry_at.utcoffset() is not None
    assert stage.calls()[-1] == "cancel"


def test_a_stopped_export_cancels_its_job_within_a_second(
    instance: Marketo, make_marketo: Make, tmp_path: Path
) -> None:
    """While waiting an hour for the next poll, told to stop: the job leaves the queue and so do we."""
    instance.script["status"] = [instance.job(status="Processing")]
    stopped = threading.Event()
    with ScriptedServer(forever=instance) as server:
        client = make_marketo(server.url, stop=stopped.is_set, sleep=stopped.wait)
        stage = Stage(server, client, tmp_path / "leads.csv")
        threading.Timer(0.3, stopped.set).start()
        with pytest.raises(Stopped):
            stage.export(poll_interval_seconds=3600)
        assert stage.calls()[-2:] == ["status", "cancel"]
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_download_leaves_no_half_file(
    instance: Marketo, make_marketo: Make, tmp_path: Path
) -> None:
    """The first bytes are on disk when the task is told to stop."""
    stopped = threading.Event()
    with ScriptedServer(forever=instance) as server:
        stage = Stage(server, make_marketo(server.url, stop=stopped.is_set), tmp_path / "leads.csv")

        def on_progress(progress: ExportProgress) -> None:
            if progress.bytes_done:
                stopped.set()

        with pytest.raises(Stopped):
            stage.export(on_progress=on_progress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "poll", "field"), [([], 60, "fields"), (["id"], 0, "poll_interval_seconds")]
)
def test_an_impossible_export_is_refused_before_anything_is_asked(
    stage: Stage, fields: list[str], poll: float, field: str
) -> None:
    """Field and remedy."""
    with pytest.raises(InvalidInput, match=field):
        stage.client.export_leads(fields, SmartListFilter(1), stage.to, poll_interval_seconds=poll)
    assert stage.calls() == []


def test_a_wrong_setting_on_the_way_is_raised_as_such(stage: Stage, instance: Marketo) -> None:
    """603 while polling: the role lost its permission; our job does not stay behind."""
    instance.script["status"] = [bad(("603", "Access denied"))]
    with pytest.raises(ConfigError, match="603"):
        stage.export()
    assert stage.calls()[-1] == "cancel"
