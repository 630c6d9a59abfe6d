"""An export that an earlier try began is gone on with, where that is safe, and made anew where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_sms_flow.clients.marketo import DownloadBroken, EarlierTry, ExportResult, MarketoClient
from tests.clients.scripted_server import ScriptedServer, answer, cut, reset
from tests.clients.test_marketo import bad
from tests.clients.test_marketo_export import CONTENT, Marketo, Stage

KEPT = 100_000


@pytest.fixture
def instance() -> Marketo:
    """A Marketo whose connection breaks for good after the first bytes of the file."""
    instance = Marketo()
    instance.script["file"] = [cut(200, CONTENT, KEPT), reset]
    return instance


@pytest.fixture
def stage(instance: Marketo, make_marketo: Callable[..., MarketoClient], tmp_path: Path) -> Iterator[Stage]:
    """The first try is over."""
    with ScriptedServer(forever=instance) as server:
        first = tmp_path / "first"
        first.mkdir()
        stage = Stage(server, make_marketo(server.url), first / "leads.csv")
        with pytest.raises(DownloadBroken):
            stage.export(poll_interval_seconds=1)
        assert [one.stat().st_size for one in first.iterdir()] == [KEPT]
        server.requests.clear()
        instance.script["file"] = [instance.file]
        yield stage


def second_try(stage: Stage, **left: Any) -> ExportResult:
    """In a folder of its own, as another process."""
    to = stage.to.parent.parent / "second"
    to.mkdir()
    found = {"export_id": "e-1", "folders": [stage.to.parent]} | left
    stage.to = to / "leads.csv"
    result = stage.export(poll_interval_seconds=1, earlier=EarlierTry(**found))
    assert stage.to.read_bytes() == CONTENT
    assert list(to.iterdir()) == [stage.to]
    return result


def ranges(stage: Stage) -> list[str | None]:
    """What was asked for of the file."""
    requests = [one for one in stage.server.requests if one.path.endswith("file.json")]
    return [request.headers.get("range") for request in requests]


def test_the_job_and_the_part_of_its_file_are_taken_up(stage: Stage) -> None:
    """No new job, which would cost quota, and only the missing bytes."""
    assert second_try(stage) == ExportResult(20_000, len(CONTENT), "e-1")
    assert "create" not in stage.calls()
    assert ranges(stage) == [f"bytes={KEPT}-{len(CONTENT) - 1}"]


def test_on_another_machine_the_file_begins_anew(stage: Stage) -> None:
    """The note of the job travels by the shared storage, the part does not."""
    second_try(stage, folders=[])
    assert "create" not in stage.calls()
    assert ranges(stage) == [None]


def test_the_earlier_tries_part_is_only_read(stage: Stage) -> None:
    """It may still be alive, and writing: two writers of one file would mix two downloads."""
    before = [one.read_bytes() for one in stage.to.parent.iterdir()]
    first = stage.to.parent
    second_try(stage)
    assert [one.read_bytes() for one in first.iterdir()] == before


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        (b"x" * KEPT, [f"bytes={KEPT}-{len(CONTENT) - 1}", None]),
        (b"x" * len(CONTENT), [None]),
        (CONTENT + b"x", [None]),
        (CONTENT, []),
        (b"", [None]),
    ],
)
def test_a_part_that_is_not_right_costs_one_more_download(
    stage: Stage, left: bytes, asked: list[str | None]
) -> None:
    """Size and checksum decide, whatever a crash left on disk."""
    next(stage.to.parent.iterdir()).write_bytes(left)
    second_try(stage)
    assert ranges(stage) == asked


def test_a_part_is_not_trusted_without_a_checksum(stage: Stage, instance: Marketo) -> None:
    """Nothing would tell whether its bytes are right."""
    instance.completed = instance.job(status="Completed", numberOfRecords=20_000, fileSize=len(CONTENT))
    instance.script["status"] = [instance.completed]
    second_try(stage)
    assert ranges(stage) == [None]


def test_a_job_still_at_work_is_waited_for(stage: Stage, instance: Marketo) -> None:
    """Its place in the queue was hard to get."""
    instance.script["status"] = [instance.job(status="Processing"), instance.completed]
    second_try(stage)
    assert "create" not in stage.calls()
    assert "enqueue" not in stage.calls()


def test_a_job_that_was_never_queued_is_queued(stage: Stage, instance: Marketo) -> None:
    """The process was killed between the two calls."""
    instance.script["status"] = [instance.job(status="Created"), instance.completed]
    second_try(stage)
    assert "create" not in stage.calls()
    assert "enqueue" in stage.calls()


@pytest.mark.parametrize("gone", ["failed", "forgotten", "fileless"])
def test_a_job_that_is_of_no_use_is_made_anew_and_remembered(
    stage: Stage, instance: Marketo, gone: str
) -> None:
    """Failed, unknown to this API user, or without its file."""
    if gone == "fileless":
        instance.script["file"] = [answer(404, b"File not found"), instance.file]
    first = bad(("1013", "Export not found")) if gone == "forgotten" else instance.job(status="Failed")
    instance.script["status"] = [instance.completed] if gone == "fileless" else [first, instance.completed]
    noted: list[str] = []
    second_try(stage, remember=noted.append)
    assert noted == ["e-1"]
    assert stage.calls().count("create") == 1
