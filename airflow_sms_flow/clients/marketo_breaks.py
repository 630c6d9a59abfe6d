"""Carriage returns inside cells, which Marketo does not always quote: kept from ending a row.

pyarrow ends a row at CR, LF and CRLF. So where a file has stray returns, a copy that spells them otherwise is
read in its place, and each cell gets its own spelling back. Few files have any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.compute as pc

from airflow_sms_flow.clients.marketo_download import private

_CHUNK_BYTES = 1024 * 1024
#: Spells a return as itself and an r; itself, where it stands in a cell, as itself and an s.
_ESCAPE = "\x1a"
_RETURN, _ITSELF = f"{_ESCAPE}r", f"{_ESCAPE}s"


@contextmanager
def without_stray_returns(path: Path) -> Iterator[tuple[Path, bool]]:
    """A file to parse, and whether its cells are to be `restored`: `path` itself, or a copy beside it.

    Where the header ends in LF, every return belongs to a cell; where it ends in CRLF, those before no LF.
    """
    with path.open("rb") as file:
        stray = re.compile(rb"\r(?!\n)" if file.readline().endswith(b"\r\n") else rb"\r")
        if not any(stray.search(chunk) for chunk in _chunks(file)):
            yield path, False
            return
    respelt = path.with_name(path.name + ".tmp")
    try:
        with path.open("rb") as file, open(respelt, "wb", opener=private) as copy:
            for chunk in _chunks(file):
                copy.write(stray.sub(_RETURN.encode(), chunk.replace(_ESCAPE.encode(), _ITSELF.encode())))
        yield respelt, True
    finally:
        respelt.unlink(missing_ok=True)


def restored(cells: Any) -> Any:
    """The cells of a copy as they stand in the file."""
    with_returns: Any = pc.replace_substring(cells, _RETURN, "\r")
    return pc.replace_substring(with_returns, _ITSELF, _ESCAPE)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """All of the file, in pieces that part no CRLF."""
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        while chunk.endswith(b"\r") and (more := file.read(1)):
            chunk += more
        yield chunk
