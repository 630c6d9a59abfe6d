"""What the vendor's daily file of messages tells of our deliveries, where callbacks were lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from airflow_sms_flow.core.callbacks import read_time
from airflow_sms_flow.core.facts import EventStage
from airflow_sms_flow.core.past_sends import NoMatch, PastSend, match
from airflow_sms_flow.core.receipts import Action, read_message_status
from airflow_sms_flow.extracts.messages import AT, OUR_ID, PHONE, STATUS, MessageExtract
from airflow_sms_flow.ledger import Ledger

SOURCE = "extract"
#: One transaction each; `Ledger.note_receipts` settles as many deliveries at once.
_AT_ONCE = 5_000
#: A vendor's clock may be a little ahead; more would let one row win for ever.
_SKEW = timedelta(minutes=5)
_OURS = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class FillReport:
    """rows = matched + ambiguous + unknown + unreadable.

    `matched`: about a delivery of ours, and `news` of those told something new. `unknown`: about no delivery
    that the ledger knows, such as another program's text. `ambiguous`: without our id, and more than one
    delivery or row fits. `unreadable`: without a time or a status, or with too many fields.
    """

    rows: int = 0
    matched: int = 0
    news: int = 0
    ambiguous: int = 0
    unknown: int = 0
    unreadable: int = 0

    def as_dict(self) -> dict[str, int]:
        """JSON for an XCom."""
        return asdict(self)


class _Row(NamedTuple):
    phone: str
    our_id: str
    at: datetime
    action: Action

    def stage(self, event_id: str) -> EventStage:
        """What it says, of this event of ours."""
        return EventStage(event_id, self.action.stage, self.at, self.action.bounce, self.action.reason)


def fill_in(ledger: Ledger, company_key: str, extract: MessageExtract) -> FillReport:
    """Tell the ledger what the file knows. To repeat it, or to be killed in it, harms nothing.

    Rows with our id are told block by block. Those without are looked at last, number by number, since it
    takes all rows of a number to say which delivery each is about.
    """
    ledger.hear_all()
    filling = _Filling(ledger, company_key)
    without_id: list[pa.RecordBatch] = []
    for batch in extract.batches():
        with_id = [bool(one) for one in batch.column(OUR_ID).to_pylist()]
        without_id.append(batch.filter(pa.array([not one for one in with_id], pa.bool_())))
        filling.tell_by_id(batch.filter(pa.array(with_id, pa.bool_())))
    if without_id:
        filling.tell_by_number(pa.Table.from_batches(without_id))
    ledger.hear_all()
    return filling.report(extract.damaged)


class _Filling:
    """One file on its way into the ledger."""

    def __init__(self, ledger: Ledger, company_key: str) -> None:
        self._ledger = ledger
        self._company_key = company_key
        self._latest = datetime.now(UTC) + _SKEW
        self._counts: Counter[str] = Counter()

    def tell_by_id(self, batch: pa.RecordBatch) -> None:
        """Rows that carry an id, ours or somebody else's."""
        rows = self._read(batch)
        while part := list(islice(rows, _AT_ONCE)):
            ids = {row.our_id for row in part if _OURS.fullmatch(row.our_id)}
            ours = self._ledger.events_of(self._company_key, sorted(ids))
            stages = [row.stage(row.our_id) for row in part if row.our_id in ours]
            self._counts["matched"] += len(stages)
            self._counts["unknown"] += len(part) - len(stages)
            self._note(stages)

    def tell_by_number(self, table: pa.Table) -> None:
        """Rows without an id, of the whole file."""
        rows = self._read(*table.sort_by(PHONE).to_batches())
        by_number = ((phone, list(group)) for phone, group in groupby(rows, itemgetter(0)))
        while part := list(islice(by_number, _AT_ONCE)):
            sends = self._ledger.sends_to(self._company_key, [phone for phone, _ in part])
            stages: list[EventStage] = []
            for phone, of_number in part:
                stages += self._matched(of_number, sends.get(phone, []))
            self._note(stages)

    def _matched(self, rows: list[_Row], sends: list[PastSend]) -> Iterator[EventStage]:
        """What rows of one number tell that may be news."""
        for row, found in zip(rows, match([row.at for row in rows], sends), strict=True):
            if isinstance(found, NoMatch):
                self._counts[found.value] += 1
                continue
            self._counts["matched"] += 1
            if not found.is_final:
                yield row.stage(found.event_id)

    def _note(self, stages: list[EventStage]) -> None:
        if stages:
            self._counts["news"] += self._ledger.note_receipts(self._company_key, stages, SOURCE)

    def _read(self, *batches: pa.RecordBatch) -> Iterator[_Row]:
        """The rows that say something; the others are counted."""
        for batch in batches:
            columns: list[Any] = [batch.column(name).to_pylist() for name in (PHONE, OUR_ID, AT, STATUS)]
            for phone, our_id, time, status in zip(*columns, strict=True):
                at, action = read_time(time), read_message_status(status)
                if at is None or action is None:
                    self._counts["unreadable"] += 1
                else:
                    yield _Row(phone, our_id.lower(), min(at, self._latest), action)

    def report(self, damaged: int) -> FillReport:
        """The sum. `damaged` rows never got here."""
        counts = Counter(self._counts)
        counts["unreadable"] += damaged
        rows = sum(counts.values()) - counts["news"]
        return FillReport(rows=rows, **counts)
