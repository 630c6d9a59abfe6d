"""Who may use how many slots of an account's rate limit. The sum is never above the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from airflow_sms_flow.ledger.schema import ring_shares


@dataclass(frozen=True, slots=True)
class Share:
    """What one holder may use from now on, and among how many the limit is shared."""

    slots: int
    holders: int


class RingShares:
    """One account's shares, inside one transaction of `Ledger.ring_shares`."""

    def __init__(self, connection: Connection, account: str, at: datetime) -> None:
        self._connection = connection
        self._account = account
        self._at = at
        if connection.dialect.name == "postgresql":
            # Two holders that grew at the same instant would both count on the same free slots.
            lock = text("SELECT pg_advisory_xact_lock(hashtext(:name))")
            connection.execute(lock, {"name": f"rings of {account}"})
        connection.execute(
            delete(ring_shares).where(ring_shares.c.account == account, ring_shares.c.lease_until < at)
        )

    def renew(
        self, ring: str, holder_id: str, limit: int, shrink_to: Callable[[int], int], lease: timedelta
    ) -> Share:
        """Take, keep or give way to a fair share of `limit`.

        `shrink_to` brings the holder's ring down to a size and returns what it still answers for, which may
        be more for a while: that much is kept. A grown share may be used once the transaction is committed.
        """
        others = self._slots_of_others(ring, holder_id)
        holders = len(others) + 1
        fair = max(1, limit // holders)
        allowed = max(0, min(fair, limit - sum(others)))
        slots = max(allowed, shrink_to(allowed))
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        row = {"slots": slots, "lease_until": self._at + lease}
        key = {"account": self._account, "ring": ring, "holder_id": holder_id}
        self._connection.execute(
            dialect.insert(ring_shares)
            .values(**key, **row)
            .on_conflict_do_update(index_elements=list(ring_shares.primary_key), set_=row)
        )
        return Share(allowed, holders)

    def leave(self, ring: str, holder_id: str, slots: int, safe_after: timedelta) -> None:
        """Give the share back: at once but for `slots`, whose last calls may count until `safe_after`."""
        self._connection.execute(
            update(ring_shares)
            .where(
                ring_shares.c.account == self._account,
                ring_shares.c.ring == ring,
                ring_shares.c.holder_id == holder_id,
            )
            .values(slots=slots, lease_until=self._at + safe_after)
        )

    def _slots_of_others(self, ring: str, holder_id: str) -> list[int]:
        query = select(ring_shares.c.slots).where(
            ring_shares.c.account == self._account,
            ring_shares.c.ring == ring,
            ring_shares.c.holder_id != holder_id,
        )
        return list(self._connection.execute(query).scalars())
