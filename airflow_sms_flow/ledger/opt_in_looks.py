"""Who asks Vibes about whom, and when: the open questions of one acquisition campaign, as a queue.

All sensors of a campaign work on it together: a look is claimed before it is made, by moving its time on, so
that several sensors over the same people do not ask twice, and a claim that a dead task has left comes up
again by itself. What looks and callbacks found is read back as news.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, RowMapping

from airflow_sms_flow.core.opt_in import EXPIRY_GRACE, OptIn, OptInState
from airflow_sms_flow.core.opt_in_wait import Look, LookPlan
from airflow_sms_flow.ledger import changes, database
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.schema import opt_in_pace, opt_ins

#: News is read again from so much before the last time: a row carries the time at which it was written, and
#: becomes visible a little later.
_LATE_COMMITS = timedelta(seconds=60)
_MINUTE = timedelta(seconds=60)
_PUT_OFF_AT_ONCE = 5_000
_OPEN = opt_ins.c.state == OptInState.PENDING.value


@dataclass(frozen=True, slots=True)
class Known:
    """One person's row. `told_at`: when a callback last told of this question, as the event's own time."""

    opt_in: OptIn
    look_at: datetime | None
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class News:
    """What was decided up to `as_of` (the database's time), whether callbacks told of this campaign, and when
    its next look is due."""

    as_of: datetime
    decided: Mapping[str, OptIn]
    told: bool
    next_look_at: datetime | None


class OptInLooks:
    """The open questions of one campaign. Threads may share it; each call is a transaction of its own.

    Times that say when to look are the caller's (`at`, aware UTC): `Ledger.now()`, unless a test moves it.
    """

    def __init__(self, engine: Engine, company_key: str, acquisition_campaign_id: str) -> None:
        self._engine = engine
        self._key = {"company_key": company_key, "acquisition_campaign_id": acquisition_campaign_id}
        self._of_campaign = and_(*(opt_ins.c[name] == value for name, value in self._key.items()))

    def read(self, phones: Sequence[str]) -> dict[str, Known]:
        """The rows of these numbers; a number without a row is absent."""
        found: dict[str, Known] = {}
        with database.reading(self._engine, "reading opt-ins") as connection:
            for start in range(0, len(phones), IN_LIST):
                part = phones[start : start + IN_LIST]
                query = select(opt_ins).where(self._of_campaign, opt_ins.c.phone.in_(part))
                for row in connection.execute(query).mappings():
                    found[row["phone"]] = Known(_opt_in(row), row["look_at"], _told_at(row))
        return found

    def news(self, since: datetime) -> News:
        """What happened since the `as_of` of earlier news. Some of it may have been told before."""
        changed = and_(self._of_campaign, opt_ins.c.updated_at >= since - _LATE_COMMITS)
        asked = and_(_OPEN, opt_ins.c.asked_at.is_not(None), opt_ins.c.absent_since.is_(None))
        told = select(literal(1)).where(changed, or_(opt_ins.c.answered_at.is_not(None), asked)).limit(1)
        next_look = select(func.min(opt_ins.c.look_at)).where(self._of_campaign, _OPEN)
        with database.reading(self._engine, "reading opt-ins") as connection:
            as_of = database.now(connection)
            decided = connection.execute(select(opt_ins).where(changed, ~_OPEN)).mappings()
            return News(
                as_of,
                {row["phone"]: _opt_in(row) for row in decided},
                connection.execute(told).first() is not None,
                connection.execute(next_look).scalar_one(),
            )

    def schedule(self, looks: Mapping[str, Look]) -> None:
        """From here on these people are looked at then, as long as they are undecided."""
        rows = [_moved(phone, look) for phone, look in sorted(looks.items())]
        values: dict[str, Any] = {"look_at": bindparam("to_look_at"), "look_seconds": bindparam("to_seconds")}
        if rows:
            with database.writing(self._engine, "waiting for opt-ins") as connection:
                changes.lock_people(connection)
                connection.execute(self._one_open.values(values), rows)

    def look_again(self, times: Mapping[str, datetime]) -> None:
        """Only when these people are looked at next changes: sooner than the last claim said."""
        rows = [{"at_phone": phone, "to_look_at": at} for phone, at in sorted(times.items())]
        if rows:
            with database.writing(self._engine, "giving looks back") as connection:
                changes.lock_people(connection)
                connection.execute(self._one_open.values(look_at=bindparam("to_look_at")), rows)

    @property
    def _one_open(self) -> Any:
        return update(opt_ins).where(self._of_campaign, opt_ins.c.phone == bindparam("at_phone"), _OPEN)

    # -- looking -------------------------------------------------------------------------------------------

    def claim(self, at: datetime, plan: LookPlan, limit: int, *, told: bool) -> dict[str, OptIn]:
        """Up to `limit` people whom the caller looks at now; the next look at each is set. The looks that end
        a confirm window come first; others only as far as the minute's budget goes, oldest first. Where
        callbacks come (`told`), these others are put off once."""
        with database.writing(self._engine, "choosing whom to look at") as connection:
            over = opt_ins.c.expire_at < at - EXPIRY_GRACE
            rows = self._due(connection, at, limit, over)
            if len(rows) < limit:
                rows += self._due_within_budget(connection, at, plan, limit - len(rows), told, ~over)
            self._move_on(connection, rows, at, plan, told)
        return {row["phone"]: _opt_in(row) for row in rows}

    def _due(self, connection: Connection, at: datetime, limit: int, which: Any) -> list[RowMapping]:
        query = (
            select(opt_ins)
            .where(self._of_campaign, _OPEN, opt_ins.c.look_at <= at, which)
            .order_by(opt_ins.c.look_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return list(connection.execute(query).mappings())

    def _due_within_budget(
        self, connection: Connection, at: datetime, plan: LookPlan, limit: int, told: bool, which: Any
    ) -> list[RowMapping]:
        if told:
            # Callbacks come, and none has come for these: leave them their time. Not so who seems to decline.
            soon = and_(opt_ins.c.absent_since.is_(None), opt_ins.c.look_seconds < plan.longest(told=True))
            put_off = self._due(connection, at, _PUT_OFF_AT_ONCE, and_(which, soon))
            self._move_on(connection, put_off, at, plan, told)
            which = and_(which, ~soon)
        limit = min(limit, self._budget(connection, at, plan))
        rows = self._due(connection, at, limit, which) if limit else []
        self._spend(connection, len(rows))
        return rows

    def _move_on(
        self, connection: Connection, rows: Sequence[RowMapping], at: datetime, plan: LookPlan, told: bool
    ) -> None:
        moved = [
            _moved(
                row["phone"], plan.after(_opt_in(row), at, row["look_seconds"], random.random(), told=told)
            )
            for row in rows
        ]
        if moved:
            values: dict[str, Any] = {
                "look_at": bindparam("to_look_at"),
                "look_seconds": bindparam("to_seconds"),
            }
            connection.execute(self._one_open.values(values), moved)

    # -- the minute's budget -------------------------------------------------------------------------------

    def _budget(self, connection: Connection, at: datetime, plan: LookPlan) -> int:
        """How many may be looked at in what is left of the minute; the row stays locked."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        first = dialect.insert(opt_in_pace).values(**self._key, minute_began=at, looks=0)
        connection.execute(first.on_conflict_do_nothing())
        mine = and_(*(opt_in_pace.c[name] == value for name, value in self._key.items()))
        row = connection.execute(select(opt_in_pace).where(mine).with_for_update()).mappings().one()
        # A minute begins with its first look; one that lies ahead was begun before the clock was set back.
        if row["looks"] and at - _MINUTE < row["minute_began"] <= at:
            return max(0, plan.looks_per_minute - int(row["looks"]))
        connection.execute(update(opt_in_pace).where(mine).values(minute_began=at, looks=0))
        return plan.looks_per_minute

    def _spend(self, connection: Connection, looks: int) -> None:
        mine = and_(*(opt_in_pace.c[name] == value for name, value in self._key.items()))
        if looks:
            connection.execute(update(opt_in_pace).where(mine).values(looks=opt_in_pace.c.looks + looks))


def _moved(phone: str, look: Look) -> dict[str, Any]:
    return {"at_phone": phone, "to_look_at": look.at, "to_seconds": max(1, round(look.seconds))}


def _opt_in(row: RowMapping) -> OptIn:
    return OptIn(row["expire_at"], OptInState(row["state"]), row["absent_since"])


def _told_at(row: RowMapping) -> datetime | None:
    times = [time for time in (row["asked_at"], row["answered_at"]) if time is not None]
    return max(times, default=None)
