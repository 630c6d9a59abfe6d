"""The file of a finished export, fetched in bounded memory, resumed by Range, checked by size and sha256."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import requests

from airflow_sms_flow.clients._patience import value_or_raise
from airflow_sms_flow.clients._transport import FAULTS
from airflow_sms_flow.clients._wire import Call, Reply
from airflow_sms_flow.clients.marketo_records import DownloadBroken, ExportJob, WrongFile
from airflow_sms_flow.core.answers import Answer, AnswerClass

if TYPE_CHECKING:
    from airflow_sms_flow.clients.marketo import MarketoClient

#: One read. What a reset connection loses is at most this much.
_CHUNK_BYTES = 64 * 1024
#: An error in place of the file is short; what is longer is the file.
_ENVELOPE_BYTES = 64 * 1024
_COPY_BYTES = 1024 * 1024
_BREAKS_WITHOUT_PROGRESS = 5
_BREAKS_IN_ALL = 100
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Notify = Callable[[int], None]


class FileGone(Exception):
    """A completed job whose file is not there: seen with Marketo, and mended by a new job (facts D.4)."""


def download(
    client: MarketoClient, job: ExportJob, to: Path, notify: Notify, earlier: Sequence[Path] = ()
) -> int:
    """Fetch the file of a completed job to `to`, written whole and then named; returns its size in bytes.

    Goes on with a part of this job's file that lies in one of the folders `earlier`. Raises `FileGone` on
    404, `DownloadBroken` where the connection will not hold (the part stays), `WrongFile` by its checksum.
    """
    part = to.with_name(_part_name(job, to))
    _copy_part(job, part, earlier)
    try:
        for mode in ("ab", "wb"):  # a wrong checksum is worth one more download, from the first byte
            with open(part, mode, opener=private) as sink:
                _fill(client, job, sink, notify)
            if _is_right(job, part):
                size = part.stat().st_size
                os.replace(part, to)
                return size
    except DownloadBroken:
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.unlink()
    raise WrongFile(f"export {job.export_id}: the downloaded file does not have Marketo's size or checksum")


def private(path: str, flags: int) -> int:
    """An opener for files that only their owner may read: they hold people."""
    return os.open(path, flags, 0o600)


def _part_name(job: ExportJob, to: Path) -> str:
    """Tells the parts of two exports apart."""
    return f"{to.name}.{hashlib.sha256(job.export_id.encode()).hexdigest()[:16]}.part"


def _copy_part(job: ExportJob, part: Path, earlier: Sequence[Path]) -> None:
    """Copy the longest part that an earlier try left of this file, where a checksum can tell if it is right.

    Copied, since that try may still be alive: two processes must never write to one file.
    """
    if job.file_size is None or job.sha256 is None:
        return
    sizes = {path: path.stat().st_size for folder in earlier if (path := folder / part.name).exists()}
    useful = {path: size for path, size in sizes.items() if size <= job.file_size}
    if useful:
        with (
            suppress(FileNotFoundError),
            open(max(useful, key=useful.__getitem__), "rb") as source,
            open(part, "wb", opener=private) as sink,
        ):
            shutil.copyfileobj(source, sink, _COPY_BYTES)


def _fill(client: MarketoClient, job: ExportJob, sink: BinaryIO, notify: Notify) -> None:
    """Fetch until all bytes are there, going on where a connection or an earlier try broke off."""
    fruitless = 0
    if 0 < sink.tell() == job.file_size:
        return
    for _ in range(_BREAKS_IN_ALL):
        before = sink.tell()
        answer = client.fetch_export_file(job, sink, notify)
        if answer.reason == "file_gone":
            raise FileGone
        if answer.kind is AnswerClass.OK and (job.file_size is None or sink.tell() >= job.file_size):
            return
        if answer.kind not in (AnswerClass.OK, AnswerClass.RETRY):
            value_or_raise(answer)
        fruitless = 0 if sink.tell() > before else fruitless + 1
        if fruitless >= _BREAKS_WITHOUT_PROGRESS:
            break
        client.pause_after(answer, fruitless)
    raise DownloadBroken(f"export {job.export_id}: the download broke off again and again")


def _is_right(job: ExportJob, path: Path) -> bool:
    if job.file_size is not None and path.stat().st_size != job.file_size:
        return False
    if job.sha256 is None:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == job.sha256


def range_header(job: ExportJob, first_byte: int) -> dict[str, str]:
    """Nothing for a fresh start, so that a server without Range answers as well."""
    if first_byte == 0:
        return {}
    last = "" if job.file_size is None else job.file_size - 1
    return {"Range": f"bytes={first_byte}-{last}"}


def pour(
    call: Call, response: requests.Response, sink: BinaryIO, check: Callable[[], None], notify: Notify
) -> Answer | Reply:
    """Write one response into `sink`: OK, RETRY where it broke off, or a short `Reply` that is no file.

    A 200 starts the file from its first byte, also where a Range was asked for; a 206 goes on at the end.
    """
    status = response.status_code
    if status == 404:
        return Answer(AnswerClass.RETRY, "file_gone", f"{call.name} answered 404")
    if status == 416 or (status == 206 and _range_start(response) != sink.tell()):
        _empty(sink)
        return Answer(AnswerClass.RETRY, "range_refused", f"{call.name} answered {status} with another range")
    chunk = _read(response, _CHUNK_BYTES)
    if chunk is not None and (status not in (200, 206) or (status == 200 and chunk.lstrip()[:1] == b"{")):
        rest = _read(response, _ENVELOPE_BYTES)
        return Reply(status, response.headers, chunk + (rest or b""), complete=rest is not None)
    if chunk and status == 200:
        _empty(sink)
    while chunk:
        sink.write(chunk)
        notify(sink.tell())
        check()
        chunk = _read(response, _CHUNK_BYTES)
    if chunk is None:
        return Answer(AnswerClass.RETRY, "broken_off", f"{call.name}: the connection broke in the file")
    return Answer(AnswerClass.OK)


def _read(response: requests.Response, size: int) -> bytes | None:
    """The next bytes, none at the end, or None where the connection broke. Faults of our disk still raise."""
    try:
        return bytes(response.raw.read(size))
    except FAULTS:
        return None


def _range_start(response: requests.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def _empty(sink: BinaryIO) -> None:
    sink.seek(0)
    sink.truncate()
