"""A part of the tape of changes as an audience: each number once, with its newest change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airflow_sms_flow.core.facts import ChangeKind

if TYPE_CHECKING:
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.ledger.changes import Change, Taken

_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("phone", pa.string()),
    pa.field("at", pa.timestamp("us", tz="UTC")),
    pa.field("why", pa.string()),
]
SCHEMA = pa.schema(_FIELDS)
REJECTED_SCHEMA = SCHEMA.append(pa.field("reason", pa.string()))

#: Kind -> whether the list must still have them, and the reason of those for whom that is no longer so.
_STILL: Mapping[ChangeKind, tuple[bool, str]] = {
    ChangeKind.SUBSCRIBED: (True, "left_again"),
    ChangeKind.UNSUBSCRIBED: (False, "joined_again"),
}
_MOST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NewPeople:
    """Who goes on (`SCHEMA`), and everybody else with a `reason` (`REJECTED_SCHEMA`)."""

    kept: pa.Table
    rejected: pa.Table
    kind: ChangeKind

    @classmethod
    def read(cls, ledger: Ledger, taken: Taken) -> NewPeople:
        """What a take holds. Memory grows with the number of changes, not with the list."""
        changes = list(chain.from_iterable(ledger.changes(taken)))
        newest = {change.phone: at for at, change in enumerate(changes)}  # oldest first: the last one counts
        turned = _turned_since(ledger, taken, newest)
        kept, rejected = [], []
        for at, change in enumerate(changes):
            row = {"id": _lead_id(change, at), "phone": change.phone, "at": change.at, "why": change.reason}
            if at != newest[change.phone]:
                rejected.append(row | {"reason": "duplicate"})
            elif change.phone in turned:
                rejected.append(row | {"reason": _STILL[taken.kind][1]})
            else:
                kept.append(row)
        tables = pa.Table.from_pylist(kept, SCHEMA), pa.Table.from_pylist(rejected, REJECTED_SCHEMA)
        return cls(*tables, taken.kind)

    @classmethod
    def nobody(cls, kind: ChangeKind) -> NewPeople:
        """Where nothing was taken."""
        return cls(SCHEMA.empty_table(), REJECTED_SCHEMA.empty_table(), kind)

    def funnel(self) -> dict[str, int]:
        """`extracted` = `kept` + the count of each reason."""
        counts: dict[str, int] = {}
        for reason in self.rejected.column("reason").to_pylist():
            counts[str(reason)] = counts.get(str(reason), 0) + 1
        kept = self.kept.num_rows
        return {"extracted": kept + self.rejected.num_rows, "kept": kept, **counts}

    def all_rejected(self, reason: str) -> NewPeople:
        """Nobody goes on."""
        because = pa.array([reason] * self.kept.num_rows, pa.string())
        rejected = pa.concat_tables([self.rejected, self.kept.append_column("reason", because)])
        return NewPeople(self.kept.slice(0, 0), rejected, self.kind)

    def rules_json(self) -> str:
        """Says in the file how it was prepared."""
        return json.dumps({"source": "changes", "kind": self.kind.value})


def _turned_since(ledger: Ledger, taken: Taken, phones: Iterable[str]) -> set[str]:
    """Those of whom the opposite is true by now."""
    if taken.kind not in _STILL:
        return set()
    still_on_list, _ = _STILL[taken.kind]
    members = ledger.members(taken.company_key, taken.scope_id, list(phones))
    return {phone for phone, member in members.items() if member.subscribed is not still_on_list}


def _lead_id(change: Change, place: int) -> int:
    """Marketo's id travels as external_person_id; whoever joined without Marketo has none."""
    text = change.lead_id or ""
    if text.isascii() and text.isdecimal() and 0 < int(text) <= _MOST_ID:
        return int(text)
    return -1 - place
