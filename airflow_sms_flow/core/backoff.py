"""How often, and how long, a passing fault is met with another attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, capped in number and time."""

    attempts: int = 6
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0

    def wait_seconds(self, attempt: int, chance: float) -> float:
        """How long to wait after attempt number `attempt` (counted from 1) failed; `chance` is in [0, 1)."""
        return chance * min(self.longest_wait_seconds, self.first_wait_seconds * 2.0 ** min(attempt, 60))
