"""A file as its store gives it: so that a broken file is told from a store that fails.

Readers raise the same for either, `OSError` and `EOFError` among them. The first is for somebody to mend, and
the second passes.
"""

from __future__ import annotations

import io
from typing import Any

from airflow_sms_flow.core.errors import Unavailable
from airflow_sms_flow.core.file_kinds import without_query


class StoreFile(io.RawIOBase):
    """Reads an open file of fsspec's, which stays that of whoever opened it.

    Where the store fails, it raises `Unavailable` with the kind of the store's own error; its text may show
    an address with its signature.
    """

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all that are left without one."""
        try:
            return bytes(self._file.read(size))
        except Exception as error:  # every store has a family of its own
            what = f"{type(error).__name__} while {without_query(self._path)} was read"
            raise Unavailable(f"the store of a file failed: {what}") from None

    def readinto(self, buffer: Any) -> int:
        """For readers that bring their own memory."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """As the file of the store."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As the file of the store."""
        self._file.seek(offset, whence)
        return self.tell()  # not every store's `seek` says

    def tell(self) -> int:
        """As the file of the store."""
        return int(self._file.tell())
