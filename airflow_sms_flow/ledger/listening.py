"""The half of the ledger that listens: callbacks, memberships, changes, receipts. `Ledger` is this and the
half that sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.engine import Connection, Engine

from airflow_sms_flow.core.delivery import Campaign
from airflow_sms_flow.core.facts import ChangeKind, EventStage, Joined, Left
from airflow_sms_flow.core.opt_in import USUAL_WINDOW, OptIn
from airflow_sms_flow.core.past_sends import PastSend
from airflow_sms_flow.core.phone_set import Numbers, PhoneSet
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.ledger import (
    answers,
    arrivals,
    changes,
    database,
    hearing,
    inbox,
    members,
    opt_ins,
    past_sends,
    person,
    receipts,
    reports,
)
from airflow_sms_flow.ledger.arrivals import Arrival
from airflow_sms_flow.ledger.changes import Change, Taken
from airflow_sms_flow.ledger.hearing import Heard
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.ledger.members import Member, Sync
from airflow_sms_flow.ledger.person import PersonEntry

_BATCH = 10_000
#: The source of what was seen by asking Vibes.
POLL = "poll"


class Listening:
    """Threads may share it; each call is a transaction of its own unless it says otherwise."""

    _engine: Engine

    # -- callbacks -----------------------------------------------------------------------------------

    def store_callbacks(self, rows: Sequence[RawCallback]) -> int:
        """Keep raw callbacks, on disk when this returns; those that stand there already (by `dedupe_key`) are
        left out. Returns how many are new. One transaction: give many at once."""
        with database.writing(self._engine, "storing callbacks") as connection:
            return inbox.store(connection, rows)

    def hear(self, limit: int = 500) -> Heard:
        """Apply the oldest callbacks that nobody heard yet: one batch, under one lock. Call it from anywhere,
        at any time, again while `left` is not 0. What cannot be read is kept and marked."""
        with database.writing(self._engine, "hearing callbacks") as connection:
            return hearing.hear(connection, limit, database.now(connection))

    def hear_all(self, most: int | None = None) -> Heard:
        """`hear` until nothing is left, or `most` were read: what triggers and steps call before they look.
        Steps hear all of it: the last callback of a long outage may be somebody's STOP. Costs one short read
        where nothing waits."""
        read = applied = 0
        while (most is None or read < most) and self.has_unheard():
            heard = self.hear(1_000 if most is None else min(1_000, most - read))
            read, applied = read + heard.read, applied + heard.applied
            if not heard.left:
                return Heard(read, applied, 0)
        return Heard(read, applied, self.unheard_callbacks() if read == most else 0)

    def has_unheard(self) -> bool:
        """Whether `hear` would find anything: a read that locks nobody."""
        with database.reading(self._engine, "looking into the inbox") as connection:
            return inbox.has_unheard(connection) or receipts.has_waiting(connection)

    def note_test_callback(self, company_key: str, event_id: str, since: datetime) -> Arrival:
        """Whether the callback of a test event has come in since then. From here on it is never applied."""
        with database.writing(self._engine, "looking for a test event") as connection:
            return arrivals.look_for(connection, company_key, event_id, since, database.now(connection))

    def unheard_callbacks(self) -> int:
        """How many callbacks wait to be heard (counted up to 100,000)."""
        with database.reading(self._engine, "counting callbacks") as connection:
            return inbox.count_unheard(connection)

    # -- who is on a list ----------------------------------------------------------------------------

    def members(self, company_key: str, list_id: str, phones: Sequence[str]) -> dict[str, Member]:
        """Where each of these stands; who is absent was never heard of. Our own unsubscribes count."""
        with database.reading(self._engine, "reading members") as connection:
            return members.read(connection, company_key, list_id, phones)

    def subscribers(self, company_key: str, list_id: str) -> PhoneSet:
        """Everybody on the list, as the ledger's own copy (the mirror) has it. A million take a second."""
        with database.reading(self._engine, "reading a list") as connection:
            phones = PhoneSet.merged([_numbers(members.on_list(connection, company_key, list_id))])
            off = members.off_by_us(connection, company_key, list_id)
        return phones.minus(PhoneSet.of(off)) if off else phones

    def opt_outs(self, company_key: str, list_id: str, newer_than: datetime | None = None) -> PhoneSet:
        """Everybody who left the list at `newer_than` or later (None: ever) and did not come back after it:
        by callback, by extract, or by our own Unsubscribe. They beat any source as old as `newer_than`."""
        with database.reading(self._engine, "reading opt-outs") as connection:
            left = members.left(connection, company_key, list_id, newer_than=newer_than)
            return PhoneSet.of([*left, *members.off_by_us(connection, company_key, list_id, newer_than)])

    def opt_outs_noted_since(self, company_key: str, list_id: str, moment: datetime) -> PhoneSet:
        """Everybody off the list of whom the ledger heard something new at `moment` or later, by its own
        clock (`now`), however long ago they left. They beat `subscribers` as it was read then."""
        with database.reading(self._engine, "reading opt-outs") as connection:
            left = members.left(connection, company_key, list_id, noted_since=moment)
            return PhoneSet.of([*left, *members.off_by_us(connection, company_key, list_id, moment)])

    def stream_members(
        self, company_key: str, list_id: str, subscribed: bool = True
    ) -> Iterator[list[tuple[str, datetime]]]:
        """(phone, since) of those who are on the list, or off it, in batches by number. Each batch is a look
        of its own: what changes meanwhile may be seen or not."""
        with database.reading(self._engine, "reading a list") as connection:
            off = members.off_by_us(connection, company_key, list_id)
        after = ""
        while True:
            with database.reading(self._engine, "reading a list") as connection:
                rows = members.page(connection, company_key, list_id, after, _BATCH)
            if not rows:
                return
            after = rows[-1][0]
            batch = [(phone, since) for phone, since, on in rows if (on and phone not in off) is subscribed]
            if batch:
                yield batch

    def note_membership(
        self,
        company_key: str,
        list_id: str,
        facts: Sequence[Joined | Left],
        source: str,
        announce: bool = True,
    ) -> int:
        """Fold in what a poll ("poll") or a file ("extract") told about this list: newer event times win, at
        the same instant the opt-out. Returns how many memberships turned. `announce=False` keeps the turns
        off the tape that campaigns are triggered from, as a baseline must. Give at most some 10,000 at once.
        """
        if any(fact.list_id != list_id for fact in facts):
            raise ValueError(f"facts of another list than {list_id}")
        with database.writing(self._engine, "noting members") as connection:
            changes.lock_people(connection)
            return self._note(connection, company_key, facts, source, announce)

    def _note(
        self,
        connection: Connection,
        company_key: str,
        facts: Sequence[Joined | Left],
        source: str,
        announce: bool,
    ) -> int:
        if not facts:
            return 0
        at = database.now(connection)
        noted = members.note(connection, company_key, facts, source, at)
        if source != POLL:  # which has stored the opt-ins that it saw, as polls see them
            answers.note_joins(connection, company_key, facts, at)
        if announce:
            changes.write(connection, noted.turns)
        return len(noted.turns)

    def last_sync(self, company_key: str, list_id: str) -> Sync | None:
        """When this list's mirror was last corrected from an extract; None for never."""
        with database.reading(self._engine, "reading the last sync") as connection:
            return members.last_sync(connection, company_key, list_id)

    def record_sync(self, company_key: str, list_id: str, as_of: datetime, rows: int) -> None:
        """Write down that it was, from an extract of that moment with so many rows of the list."""
        with database.writing(self._engine, "recording a sync") as connection:
            at = database.now(connection)
            members.record_sync(connection, company_key, list_id, as_of, rows, at)

    # -- opt-ins -------------------------------------------------------------------------------------

    def opt_ins(
        self, company_key: str, acquisition_campaign_id: str, phones: Sequence[str]
    ) -> dict[str, OptIn]:
        """What polls saw and callbacks told of these numbers. Whether a row is about a sensor's own question:
        `core.heard_opt_in.is_about`."""
        with database.reading(self._engine, "reading opt-ins") as connection:
            return opt_ins.read_opt_ins(connection, company_key, acquisition_campaign_id, phones)

    def store_opt_ins(
        self,
        company_key: str,
        acquisition_campaign_id: str,
        list_id: str,
        changed: Mapping[str, OptIn],
        joined: Sequence[Joined] = (),
    ) -> None:
        """Remember what a poll saw, `joined` among it: all or nothing, for nobody looks again at who is
        decided. An answer that was heard meanwhile stays: read again to see it."""
        with database.writing(self._engine, "storing opt-ins") as connection:
            changes.lock_people(connection)
            at = database.now(connection)
            told = answers.store_polls(connection, company_key, acquisition_campaign_id, list_id, changed, at)
            self._note_earlier_answers(connection, company_key, told)
            self._note(connection, company_key, joined, POLL, True)

    def name_list(self, company_key: str, acquisition_campaign_id: str, list_id: str) -> None:
        """Tell which list this acquisition campaign asks for, so that a Yes heard by callback counts as
        joining it. Subscribe and sensors tell it by themselves; a registration of callbacks does it here."""
        with database.writing(self._engine, "naming a campaign's list") as connection:
            changes.lock_people(connection)
            told = answers.name_list(connection, company_key, acquisition_campaign_id, list_id)
            self._note_earlier_answers(connection, company_key, told)

    def _note_earlier_answers(
        self, connection: Connection, company_key: str, told: Sequence[Joined | Left]
    ) -> None:
        """What answers say of a list that is known only now. Those of today ring; older ones are a baseline:
        nobody is welcomed for a Yes of months ago."""
        limit = database.now(connection) - USUAL_WINDOW
        older = [fact for fact in told if fact.at < limit]
        recent = [fact for fact in told if fact.at >= limit]
        self._note(connection, company_key, older, hearing.SOURCE, False)
        self._note(connection, company_key, recent, hearing.SOURCE, True)

    def list_of(self, company_key: str, acquisition_campaign_id: str) -> str | None:
        """The list that this acquisition campaign asks for, as far as sensors or Subscribe told: both had
        looked at Vibes before."""
        with database.reading(self._engine, "reading a campaign's list") as connection:
            lists = answers.lists_of(connection, company_key, [acquisition_campaign_id])
            return lists.get(acquisition_campaign_id)

    # -- changes -------------------------------------------------------------------------------------

    def latest_change(self, company_key: str, kind: ChangeKind, scope_id: str) -> int:
        """The id of the newest change of this kind on this list (for replies: code); 0 for none. Ids only
        grow, in the order in which changes become visible."""
        with database.reading(self._engine, "looking for changes") as connection:
            return changes.latest(connection, company_key, ChangeKind(kind), scope_id)

    def take_changes(
        self,
        name: str,
        owner: str,
        *,
        company_key: str,
        kind: ChangeKind,
        scope_id: str,
        first_since: datetime,
    ) -> Taken:
        """Give `owner` (dag/run/task) whatever no owner of the cursor `name` took yet; an owner who took
        before is given the same again, whatever came since. A new cursor begins with what was noted at
        `first_since` (aware). A cursor belongs to its company, kind and scope as well as to its name."""
        with database.writing(self._engine, "taking changes") as connection:
            return changes.take(
                connection,
                name,
                owner,
                company_key,
                ChangeKind(kind),
                scope_id,
                first_since,
                database.now(connection),
            )

    def untaken(
        self, name: str, *, company_key: str, kind: ChangeKind, scope_id: str, first_since: datetime
    ) -> Taken:
        """What `take_changes` would give to a new owner now; the cursor stays where it is."""
        with database.reading(self._engine, "looking for changes") as connection:
            return changes.peek(connection, name, company_key, ChangeKind(kind), scope_id, first_since)

    def has_untaken(self, company_key: str, kind: ChangeKind, scope_id: str) -> bool:
        """Whether there is a change beyond all cursors: news that nobody has seen."""
        with database.reading(self._engine, "looking for changes") as connection:
            taken = changes.last_taken(connection, company_key, ChangeKind(kind), scope_id) or 0
            return changes.latest(connection, company_key, ChangeKind(kind), scope_id) > taken

    def changes(self, taken: Taken, batch: int = _BATCH) -> Iterator[list[Change]]:
        """What was taken, oldest first. A number that came, left and came again is in it twice, and who came
        may have left since: look at `members`."""
        after = taken.from_id
        while True:
            with database.reading(self._engine, "reading changes") as connection:
                rows = changes.read(connection, taken, after, batch)
            if not rows:
                return
            yield [change for _, change in rows]
            after = rows[-1][0]

    # -- receipts ------------------------------------------------------------------------------------

    def note_receipts(self, company_key: str, stages: Sequence[EventStage], source: str) -> int:
        """Fold in what a file ("extract") told about events of ours; returns how many were news. Deliveries
        move, bounces are announced, as if callbacks had told it."""
        with database.writing(self._engine, "noting receipts") as connection:
            changes.lock_people(connection)
            at = database.now(connection)
            noted = receipts.note(connection, company_key, stages, source, at)
            changes.write(connection, noted.bounces)
            receipts.settle_waiting(connection, at)
            return len(noted.news)

    def events_of(self, company_key: str, event_ids: Sequence[str]) -> set[str]:
        """Those of these ids that are of texts of ours."""
        with database.reading(self._engine, "looking for events") as connection:
            return past_sends.events_of(connection, company_key, event_ids)

    def sends_to(self, company_key: str, phones: Sequence[str]) -> dict[str, list[PastSend]]:
        """Our texts to these numbers that left, or may have left; a number without any is absent."""
        with database.reading(self._engine, "looking for texts") as connection:
            return past_sends.sends_to(connection, company_key, phones)

    def delivery_report(self, campaign: Campaign) -> DeliveryReport:
        """What became of this campaign's texts; all zero where the ledger does not know it."""
        with database.reading(self._engine, "counting receipts") as connection:
            return reports.delivery_report(connection, campaign)

    def delivery_report_over_time(
        self, campaign: Campaign, bucket: timedelta
    ) -> list[tuple[datetime, DeliveryReport]]:
        """The same by when Vibes took each message: a report per bucket of this length that has any, oldest
        first. Buckets begin at whole multiples since 1970 in UTC."""
        with database.reading(self._engine, "counting receipts") as connection:
            return reports.over_time(connection, campaign, bucket)

    # -- people's questions --------------------------------------------------------------------------

    def heard_of(self, phone: str) -> list[PersonEntry]:
        """What callbacks, polls and files told about this number (E.164): memberships, opt-ins, receipts,
        replies, by event time. The moves of its deliveries are in `history`."""
        with database.reading(self._engine, "reading what was heard") as connection:
            return person.heard_of(connection, phone)


def _numbers(joined: str) -> Numbers:
    """Numbers of a long text with commas, as `PhoneSet` takes them."""
    return np.fromstring(joined.replace("+", ""), np.int64, sep=",") if joined else np.empty(0, np.int64)
