"""Lists that need no call per person: the vendor's daily file, and the ledger's own copy of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.extracts.files import find_extract
from airflow_sms_flow.extracts.subscribers import KIND, read_subscribers
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.membership import OptOuts, Snapshot

log = logging.getLogger(__name__)

#: A row becomes visible a little after the time that it bears: whoever writes it may wait for a lock.
_LATE_COMMITS = timedelta(minutes=5)


def from_extract(
    path: str, company_key: str, list_id: str, max_age: timedelta, ledger: Ledger | None
) -> Snapshot:
    """The newest Current Subscriber Extract at `path`, less who is known to have left since its moment.

    `ledger` None: a dry run, which only checks the file. Raises `InvalidInput` for a file that is too old,
    damaged, or not there.
    """
    file = find_extract(path, KIND, company_key, max_age=max_age, now=datetime.now(UTC))
    extract = read_subscribers(file, list_id)
    log.info(
        "Membership by extract: %s people on list %s at %s UTC%s",
        f"{len(extract.members):,}",
        list_id,
        f"{extract.as_of:%Y-%m-%d %H:%M}",
        f"; {extract.unreadable:,} rows without a number in E.164 left out" if extract.unreadable else "",
    )
    if not extract.members:
        log.warning(
            "The extract knows nobody on list %s: nobody will be texted. Is it the right list?", list_id
        )

    def left_since() -> PhoneSet:
        # By the event's own time, whenever it is heard. Who left before the file was made and stands in it
        # came back; who left after it is in here, also where we hear of it days later.
        return ledger.opt_outs(company_key, list_id, extract.as_of) if ledger is not None else PhoneSet()

    return Snapshot(extract.members, _heard_first(ledger, left_since), "subscriber extract")


def from_mirror(company_key: str, list_id: str, max_age: timedelta, ledger: Ledger) -> Snapshot:
    """The ledger's own copy of the list, kept by callbacks and corrected by `SyncSubscribersOperator`.

    Raises `ConfigError` where the last correction is older than `max_age`, or there was none: callbacks alone
    do not tell of everybody.
    """
    ledger.hear_all()
    sync = ledger.last_sync(company_key, list_id)
    remedy = "run SyncSubscribersOperator with the daily Current Subscriber Extract before this task"
    if sync is None:
        raise ConfigError(f"the ledger has no copy of list {list_id} yet: {remedy}")
    age = datetime.now(UTC) - sync.as_of
    if age > max_age:
        hours = age / timedelta(hours=1)
        raise ConfigError(
            f"the ledger's copy of list {list_id} was last corrected by an extract of "
            f"{sync.as_of:%Y-%m-%d %H:%M} UTC, {hours:.0f} hours ago, and may be "
            f"{max_age / timedelta(hours=1):.0f} hours old: {remedy}"
        )
    began = ledger.now() - _LATE_COMMITS
    members = ledger.subscribers(company_key, list_id)
    log.info("Membership by mirror: %s people on list %s", f"{len(members):,}", list_id)

    def left_since() -> PhoneSet:
        # By when we heard of it: the copy lacks whatever was not heard yet, however long ago it happened.
        return ledger.opt_outs_noted_since(company_key, list_id, began)

    return Snapshot(members, _heard_first(ledger, left_since), "ledger's copy of the list")


def _heard_first(ledger: Ledger | None, read: Callable[[], PhoneSet]) -> OptOuts:
    def hear_and_read() -> PhoneSet:
        if ledger is not None:
            ledger.hear_all()  # an opt-out that waits in the inbox is one, too
        return read()

    return OptOuts(hear_and_read)
