"""A try of an extraction that ended in the middle: nothing half stands about, and the next try goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_sms_flow import rings
from airflow_sms_flow.clients.marketo import DownloadBroken, WrongFile
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators.extract import ExtractSmartListOperator
from airflow_sms_flow.storage import read_batches
from tests.clients.scripted_server import Request, ScriptedServer, answer, cut
from tests.clients.test_marketo import good
from tests.clients.test_marketo_export import Marketo

FIELDS = {"id": "integer", "mobilePhone": "string", "country": "string", "blackListed": "boolean"}
FIELDS |= {"marketingSuspended": "boolean"}
ROWS = 20_000
CONTENT = ",".join(FIELDS).encode() + b"\n"
CONTENT += b"".join(b"%d,+1 202 555 0132,null,false,null\n" % lead for lead in range(ROWS))
HALF = len(CONTENT) // 2


class Instance(Marketo):
    """With the fields and the list that the operator asks for."""

    def __init__(self, content: bytes = CONTENT) -> None:
        super().__init__(content, ROWS)
        fields = [
            {"displayName": name, "dataType": kind, "rest": {"name": name}} for name, kind in FIELDS.items()
        ]
        self.script |= {"describe": [good(*fields)], "7": [good({"id": 7, "name": "everybody"})]}


@pytest.fixture
def instance() -> Instance:
    return Instance()


@pytest.fixture
def server(instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    """Airflow's connection leads to it."""
    with ScriptedServer(forever=instance) as running:
        connection = {"conn_type": "marketo", "host": running.url, "login": "a", "password": "b"}
        monkeypatch.setenv("AIRFLOW_CONN_MARKETO_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))
        yield running


def extract(max_tries: int = 3, **parameters: Any) -> Any:
    """One try of the same task; `max_tries` grows when somebody clears it."""
    operator = ExtractSmartListOperator(
        task_id="extract", smart_list=7, poll_interval=0.01, **({"fields": []} | parameters)
    )
    ti = SimpleNamespace(dag_id="a", run_id="b", task_id="extract", map_index=-1, max_tries=max_tries)
    return operator.execute({"ti": ti})  # type: ignore[typeddict-item]  # it needs no more of the context


def extract_by_short_leases() -> None:
    """For a process that is killed: its share of Marketo's limit would be waited for two minutes."""
    short = rings.SharingTimes(lease_seconds=2.0, answer_seconds=2.0)
    rings.SharingTimes = lambda **_: short  # type: ignore[assignment,misc]
    extract()


def left(tmp_path: Path) -> list[str]:
    """The files of the task's folder."""
    return sorted(one.name for one in (tmp_path / "files/a/b/extract").rglob("*") if one.is_file())


def calls(server: ScriptedServer, name: str) -> list[Request]:
    """The requests of one kind."""
    return [one for one in server.requests if one.path.endswith(f"/{name}.json")]


def break_off(monkeypatch: pytest.MonkeyPatch, instance: Instance) -> None:
    """A first try whose connection breaks for good after half of the file."""
    instance.script["file"] = [cut(200, CONTENT, HALF), answer(503)]
    monkeypatch.setattr("airflow_sms_flow.clients.marketo.MarketoClient.pause_after", lambda *_: None)
    with pytest.raises(DownloadBroken):
        extract()
    instance.script["file"] = [instance.file]


def test_a_killed_download_is_gone_on_with(
    server: ScriptedServer, instance: Instance, tmp_path: Path
) -> None:
    """No half file under a final name; then the same export, from the first missing byte on."""

    def half(request: Request, peer: socket.socket) -> bool:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
        peer.sendall(head + CONTENT[:HALF])
        time.sleep(60)
        return False

    instance.script["file"] = [half, instance.file]
    program = "from tests.operators.test_extract_again import extract_by_short_leases as go; go()"
    with subprocess.Popen([sys.executable, "-c", program], env=dict(os.environ)) as process:
        deadline = time.monotonic() + 60
        while _bytes_there(tmp_path) < HALF - 70_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert [name.rpartition(".")[2] for name in left(tmp_path)] == ["json", "part"]
    there = _bytes_there(tmp_path)
    assert extract()["rows"] == ROWS
    assert len(calls(server, "create")) == 1
    assert calls(server, "file")[-1].headers["range"] == f"bytes={there}-{len(CONTENT) - 1}"
    assert left(tmp_path) == ["leads.parquet"]


def _bytes_there(tmp_path: Path) -> int:
    return sum(one.stat().st_size for one in tmp_path.glob("files/a/b/extract/.sms_flow_*/*.part"))


def test_a_broken_download_is_gone_on_with(
    server: ScriptedServer, instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An outage is the usual reason; each person arrives once."""
    break_off(monkeypatch, instance)
    path = extract()["path"]
    ids = [row["id"] for batch in read_batches(path) for row in batch.to_pylist()]
    assert ids == list(range(ROWS))
    assert len(calls(server, "create")) == 1
    assert calls(server, "file")[-1].headers["range"].startswith(f"bytes={HALF}-")
    assert left(tmp_path) == ["leads.parquet"]


@pytest.mark.parametrize("other", [{"max_tries": 7}, {"fields": "country,id"}])
def test_a_cleared_task_and_another_question_get_a_new_export(
    server: ScriptedServer,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    other: dict[str, Any],
) -> None:
    """Who clears a task may have changed the list; and nothing of the old one stays behind."""
    break_off(monkeypatch, instance)
    if "fields" in other:
        note = tmp_path / "files/a/b/extract/export.json"
        note.write_text(note.read_text().replace('"country"', '"city"'))
    extract(**other)
    assert len(calls(server, "create")) == 2
    assert left(tmp_path) == ["leads.parquet"]


@pytest.mark.parametrize("made_at", ["2026-01-02T03:04:05+00:00", "not a date"])
def test_an_old_export_is_not_gone_on_with(
    server: ScriptedServer,
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    made_at: str,
) -> None:
    """It says who was on the list then, and who was blocked then."""
    break_off(monkeypatch, instance)
    note = tmp_path / "files/a/b/extract/export.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"made_at": made_at}))
    extract()
    assert len(calls(server, "create")) == 2


def test_an_export_that_lacks_people_is_an_error_and_made_anew(
    server: ScriptedServer, instance: Instance, tmp_path: Path
) -> None:
    """Marketo counted one more than its file has: nobody is lost silently, nor the same file tried twice."""
    short = CONTENT[: CONTENT[:-1].rindex(b"\n") + 1]
    wrong = Instance(short)
    instance.script |= {"status": [wrong.completed], "file": [wrong.file]}
    with pytest.raises(WrongFile, match="19,999 rows where Marketo counted 20,000"):
        extract()
    assert left(tmp_path) == []
    instance.script |= {"status": [instance.completed], "file": [instance.file]}
    assert extract()["rows"] == ROWS
    assert len(calls(server, "create")) == 2


def test_rows_that_a_stray_quote_swallowed_are_noticed(server: ScriptedServer, instance: Instance) -> None:
    """The checksum is right and the file is a CSV, yet two people became one."""
    odd = Instance(CONTENT.replace(b"\n5,+1 202 555 0132,", b'\n5,"+1,', 1).replace(b"\n6,+1", b'\n6","', 1))
    instance.script |= {"status": [odd.completed], "file": [odd.file]}
    with pytest.raises(WrongFile):
        extract()


def test_a_cell_that_somebody_must_mend_is_asked_for_anew(
    server: ScriptedServer, instance: Instance, tmp_path: Path
) -> None:
    """It fails without retries; once mended in Marketo and cleared, the old file must not come back."""
    odd = Instance(CONTENT.replace(b"false", b"perhaps", 1))
    instance.script |= {"status": [odd.completed], "file": [odd.file]}
    with pytest.raises(Exception, match="blackListed") as caught:
        extract()
    assert isinstance(caught.value.__cause__ or caught.value.__context__, InvalidInput)
    assert left(tmp_path) == []


def test_progress_is_told_while_downloading_and_converting(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes, speed and time left; then rows. Here in lines for every step instead of every ten seconds."""
    monkeypatch.setattr("airflow_sms_flow.progress._EVERY_SECONDS", 0.0)
    extract()
    said = "".join(capfd.readouterr())
    assert f"downloading: {len(CONTENT) / 1e6:.1f} of {len(CONTENT) / 1e6:.1f} MB" in said
    assert "Converting to Parquet: 20,000 of 20,000 rows" in said
