"""Moves that find their row as expected: all of a batch in one statement, one round trip (PostgreSQL only).

Nearly every move does: a claim of somebody new finds no row, an answer finds its own claim. Only from there
the state alone tells that a move is due; from anywhere else its reason and its age count, too. The statement
compares and moves in one go, history included, and tells whom it moved; whoever is left goes the careful way
of `deliveries.apply_moves`. On a busy machine each round trip costs milliseconds, and `apply_moves` needs
seven; SQLite has none to save.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter

from sqlalchemy.engine import Connection, Engine

from airflow_sms_flow.core.delivery import DeliveryState, may_move
from airflow_sms_flow.ledger.deliveries import Move, Mover, fit, lock_of_list
from airflow_sms_flow.ledger.schema import deliveries, history

#: `locked` waits for whoever holds a row and sees what stands in the end; the moves come sorted, so that
#: everybody locks in one order. A row that was not there to be locked and is there now was made by somebody
#: else in this instant: it is left alone. Rows are found by key whatever the planner knows of the table.
_MOVE_ALL = """
WITH wanted AS (
    SELECT * FROM json_to_recordset(%(moves)s::json) AS move (
        phone text, event_id text, from_state text, state text, reason text, claim_id text,
        settles boolean, expire_at timestamptz, not_if_sent_since timestamptz, why text)
), locked AS (
    SELECT row.* FROM wanted, LATERAL (
        SELECT phone, state, claim_id FROM sms_flow_deliveries
        WHERE dispatch_id = %(dispatch_id)s AND phone = wanted.phone FOR UPDATE) AS row
), moved AS (
    INSERT INTO sms_flow_deliveries (dispatch_id, phone, event_id, fingerprint, state, reason, claim_id,
                                     claimer_id, expire_at, updated_at)
    SELECT %(dispatch_id)s, phone, event_id, %(fingerprint)s::text, wanted.state, reason, wanted.claim_id,
           %(claimer_id)s, expire_at, %(at)s
    FROM wanted LEFT JOIN locked USING (phone)
    WHERE locked.state IS NOT DISTINCT FROM wanted.from_state
      AND (locked.claim_id = wanted.claim_id OR NOT wanted.settles)
      AND (not_if_sent_since IS NULL OR NOT EXISTS (
        SELECT FROM sms_flow_deliveries AS other JOIN sms_flow_dispatches AS dispatch
               ON dispatch.id = other.dispatch_id
        WHERE other.phone = wanted.phone AND other.dispatch_id <> %(dispatch_id)s
          AND other.fingerprint = %(fingerprint)s::text AND other.updated_at >= not_if_sent_since
          AND other.state IN ('accepted', 'claimed', 'in_doubt')
          AND dispatch.company_key = %(company_key)s AND dispatch.list_id = %(list_id)s
          AND dispatch.step = 'send'))
    ORDER BY phone
    ON CONFLICT (dispatch_id, phone) DO UPDATE
    SET event_id = excluded.event_id, fingerprint = excluded.fingerprint, state = excluded.state,
        reason = excluded.reason, claim_id = excluded.claim_id, claimer_id = excluded.claimer_id,
        expire_at = excluded.expire_at, updated_at = excluded.updated_at
    WHERE EXISTS (SELECT FROM locked WHERE locked.phone = excluded.phone)
    RETURNING phone
)
INSERT INTO sms_flow_history (dispatch_id, phone, at, from_state, to_state, reason, why, claimer_id)
SELECT %(dispatch_id)s, phone, %(at)s, from_state, state, reason, why, %(claimer_id)s
FROM wanted JOIN moved USING (phone)
RETURNING phone
"""


def open_express(engine: Engine) -> Connection:
    """A connection for `move_as_expected` alone: what it moves is on disk at once. Closing it ends it."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()
    # The statement is planned once, perhaps while the table is tiny: never by reading all of it.
    connection.exec_driver_sql("SET enable_seqscan = off")
    return connection


def move_as_expected(express: Connection, mover: Mover, moves: Sequence[Move], at: datetime) -> set[str]:
    """Make those moves whose row stands as expected; returns their numbers. At most one move per number."""
    wanted = [_values(mover, move) for move in moves if _may_be_expected(move)]
    wanted.sort(key=itemgetter("phone"))
    parameters = {
        "moves": json.dumps(wanted),
        "dispatch_id": mover.dispatch_id,
        "company_key": mover.campaign.company_key,
        "list_id": mover.campaign.list_id,
        "fingerprint": mover.fingerprint,
        "claimer_id": mover.claimer_id,
        "at": at,
    }
    if any(move.not_if_sent_since for move in moves):
        express.exec_driver_sql(f"BEGIN; SELECT pg_advisory_xact_lock({lock_of_list(mover.campaign)})")
    moved = set(express.exec_driver_sql(_MOVE_ALL, parameters).scalars())
    express.commit()  # asks the server only where there was a BEGIN
    return moved


def _may_be_expected(move: Move) -> bool:
    before = _expected(move)
    return may_move(before, move.to) and (move.is_settlement or before in (None, DeliveryState.OPEN))


def _expected(move: Move) -> DeliveryState | None:
    return DeliveryState.CLAIMED if move.is_settlement else move.seen


def _values(mover: Mover, move: Move) -> dict[str, str | bool | None]:
    return {
        "phone": move.phone,
        "event_id": mover.campaign.event_id(move.phone),
        "from_state": _expected(move),
        "state": move.to,
        "reason": fit(move.reason, deliveries.c.reason),
        "claim_id": move.claim_id,
        "settles": move.is_settlement,
        "expire_at": _iso(move.expire_at),
        "not_if_sent_since": _iso(move.not_if_sent_since),
        "why": fit(move.why, history.c.why),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
