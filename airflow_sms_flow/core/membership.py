"""Who is on a list, from facts that come late, twice and in any order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from airflow_sms_flow.core.facts import Joined, Left


@dataclass(frozen=True, slots=True)
class Membership:
    """The newest of each kind of fact about one person and one list. The later of the two counts; at the
    same instant, having left."""

    joined_at: datetime | None = None
    left_at: datetime | None = None
    reason: str | None = None  #: of having left

    @property
    def subscribed(self) -> bool:
        """Whether they are on the list, as far as is known."""
        if self.joined_at is None or self.left_at is None:
            return self.joined_at is not None
        return self.joined_at > self.left_at

    @property
    def since(self) -> datetime:
        """The event time of what counts."""
        times = [at for at in (self.joined_at, self.left_at) if at is not None]
        if not times:
            raise ValueError("a membership of which nothing is known")
        return max(times)

    def after(self, fact: Joined | Left) -> Membership:
        """With one more fact; the same object where it adds nothing."""
        if isinstance(fact, Joined):
            is_newer = self.joined_at is None or fact.at > self.joined_at
            return replace(self, joined_at=fact.at) if is_newer else self
        # Two reasons of one instant: the order of the alphabet, so that the order of arrival does not matter.
        told = (fact.at, fact.reason or "")
        if self.left_at is not None and told <= (self.left_at, self.reason or ""):
            return self
        return replace(self, left_at=fact.at, reason=fact.reason)
