"""Saying in the log what goes wrong, but not once per callback."""

from __future__ import annotations

import time

#: How often a trouble that lasts is told.
_EVERY_SECONDS = 60.0


class NowAndThen:
    """`due()` is true at first, and then once a minute; after `over()` at once again."""

    def __init__(self) -> None:
        self._at = float("-inf")

    def due(self) -> bool:
        if time.monotonic() - self._at < _EVERY_SECONDS:
            return False
        self._at = time.monotonic()
        return True

    def over(self) -> None:
        self._at = float("-inf")
