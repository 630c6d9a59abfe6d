"""The ledger's own copy of a Vibes list, corrected by the vendor's daily file.

Callbacks keep the copy fresh, and each of them may be lost (facts B.6). The file is complete, and old by the
time it is read. So the file corrects whatever is older than itself, and nothing that is newer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import Joined, Left
from airflow_sms_flow.extracts.subscribers import SubscriberExtract
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.members import EXTRACT, NOT_IN_EXTRACT

log = logging.getLogger(__name__)

#: So few may be missing without a question: small lists change by large shares.
_NEVER_SUSPICIOUS = 100
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What the file and the copy differed by. `newer`: they differ, and the copy knows of something later.

    `is_first`: the list had never been synced, so that joining and leaving rang no bell.
    """

    list_id: str
    as_of: datetime
    members: int
    joined: int
    left: int
    newer: int
    is_first: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON for an XCom."""
        return asdict(self) | {"as_of": self.as_of.isoformat()}


def sync(
    ledger: Ledger, company_key: str, list_id: str, extract: SubscriberExtract, *, max_left_share: float
) -> SyncReport:
    """Correct the copy of one list. To repeat it, or to be killed in it, harms nothing.

    Raises `InvalidInput` where an earlier correction used a newer file, and where the file lacks more than
    `max_left_share` of those whom the copy knows: so looks a file that was cut short.
    """
    ledger.hear_all()
    before = ledger.last_sync(company_key, list_id)
    if before is not None and extract.as_of < before.as_of:
        remedy = (
            f"the copy was corrected by one of {before.as_of:%Y-%m-%d %H:%M} UTC already; give a newer one"
        )
        raise InvalidInput("extract", extract.path, remedy)
    known = ledger.subscribers(company_key, list_id)
    lacking, extra = known.minus(extract.members), extract.members.minus(known)
    _refuse_half_a_file(extract, len(lacking), len(known), max_left_share)
    announce = before is not None
    as_of, note = extract.as_of, partial(_note, ledger, company_key, list_id, announce)
    left = note(Left(list_id, phone, as_of, NOT_IN_EXTRACT) for phone in lacking)
    joined = note(Joined(list_id, phone, as_of) for phone in extra)
    ledger.record_sync(company_key, list_id, extract.as_of, len(extract.members))
    newer = len(lacking) - left + len(extra) - joined
    return SyncReport(
        list_id, extract.as_of, len(extract.members), joined, left, newer, is_first=not announce
    )


def _refuse_half_a_file(extract: SubscriberExtract, lacking: int, known: int, share: float) -> None:
    if lacking > _NEVER_SUSPICIOUS and lacking > share * known:
        raise InvalidInput(
            "extract",
            extract.path,
            f"lacks {lacking:,} of the {known:,} people whom the ledger has on this list, more than "
            f"max_left_share={share:g} of them: is the file whole? If they did leave, raise max_left_share",
        )


def _note(
    ledger: Ledger, company_key: str, list_id: str, announce: bool, facts: Iterable[Joined | Left]
) -> int:
    """In transactions of some thousand; returns how many memberships turned."""
    left, turned = iter(facts), 0
    while part := list(islice(left, _AT_ONCE)):
        turned += ledger.note_membership(company_key, list_id, part, EXTRACT, announce)
    return turned
