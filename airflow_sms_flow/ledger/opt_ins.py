"""What became of the questions that Vibes asked, as the sensor's polls and callbacks saw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.schema import opt_ins


def read_opt_ins(
    connection: Connection, company_key: str, acquisition_campaign_id: str, phones: Sequence[str]
) -> dict[str, OptIn]:
    """The state of each of these numbers that the ledger has heard of."""
    found: dict[str, OptIn] = {}
    for part in _parts(phones):
        query = select(opt_ins).where(
            opt_ins.c.company_key == company_key,
            opt_ins.c.acquisition_campaign_id == acquisition_campaign_id,
            opt_ins.c.phone.in_(part),
        )
        for row in connection.execute(query).mappings():
            found[row["phone"]] = _opt_in(row)
    return found


def _opt_in(row: RowMapping) -> OptIn:
    return OptIn(
        row["expire_at"],
        OptInState(row["state"]),
        row["absent_since"],
        row["asked_at"],
        row["answered_at"],
    )


def write_opt_ins(
    connection: Connection,
    company_key: str,
    acquisition_campaign_id: str,
    list_id: str,
    changed: Mapping[str, OptIn],
    at: datetime,
) -> None:
    """Store these states over what stood there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(opt_ins)
    statement = statement.on_conflict_do_update(
        index_elements=[opt_ins.c.company_key, opt_ins.c.acquisition_campaign_id, opt_ins.c.phone],
        set_={
            name: statement.excluded[name]
            for name in (
                "list_id",
                "state",
                "expire_at",
                "absent_since",
                "updated_at",
                "asked_at",
                "answered_at",
            )
        },
    )
    rows = [
        {
            "company_key": company_key,
            "acquisition_campaign_id": acquisition_campaign_id,
            "phone": phone,
            "list_id": list_id,
            "state": opt_in.state.value,
            "expire_at": opt_in.expire_at,
            "absent_since": opt_in.absent_since,
            "updated_at": at,
            "asked_at": opt_in.asked_at,
            "answered_at": opt_in.answered_at,
        }
        for phone, opt_in in changed.items()
    ]
    if rows:
        connection.execute(statement, rows)


def _parts(phones: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(phones), IN_LIST):
        yield phones[start : start + IN_LIST]
