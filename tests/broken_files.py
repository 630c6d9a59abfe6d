"""Files as a copy that broke off leaves them, and a store that fails while one is read."""

import gzip
import io
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def broken_gzips(text: str) -> dict[str, bytes]:
    """By what is wrong with them."""
    packed = gzip.compress(text.encode() * 1000, mtime=0)
    return {
        "no gzip": text.encode(),
        "cut at its end": packed[:-9],
        "cut at its beginning": packed[:12],
        "damaged": packed[:20] + b"\xff" * 9 + packed[29:],
    }


def broken_packages(text: str) -> dict[str, bytes]:
    """Packed in another way than the name of a file says."""
    return {"no package": text.encode() * 1000}


def broken_parquets() -> dict[str, bytes]:
    """By what is wrong with them."""
    whole = io.BytesIO()
    pq.write_table(pa.table({"id": range(3000), "phone": [str(n) for n in range(3000)]}), whole)
    content = whole.getvalue()
    return {
        "no Parquet": b"id,phone\n",
        "cut": content[:-100],
        "footer": content[:-200] + b"\xff" * 190 + content[-10:],
        "cells": content[:50] + b"\xff" * (len(content) - 1550) + content[-1500:],
    }


def named(name: str, contents: dict[str, bytes]) -> list[Any]:
    """A test's parameters: the name of the file, and each content."""
    return [pytest.param(name, content, id=f"{name}: {wrong}") for wrong, content in contents.items()]


class _Failing(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        """As a lost connection: the kind of error is that of a broken file."""
        raise EOFError("connection lost")


def failing_store(path: str) -> tuple[SimpleNamespace, str]:
    """In place of `storage.file_system`."""
    return SimpleNamespace(open=lambda *_, **__: _Failing(bytes(1000))), path
