"""The one statement for moves that find their row as expected; `test_deliveries` has the rules."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.deliveries import Move, Mover, apply_moves
from airflow_sms_flow.ledger.expected_moves import move_as_expected, open_express
from tests.ledger.moves import CAMPAIGN, TEXT, A, B, C, Sender, claim, path_of, settle

OPEN, CLAIMED, IN_DOUBT = DeliveryState.OPEN, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT
ACCEPTED, REFUSED = DeliveryState.ACCEPTED, DeliveryState.REFUSED
AT = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass
class Express:
    """Both ways to make moves, on one PostgreSQL ledger."""

    ledger: Ledger
    sender: Sender
    engine: Engine

    def move(self, *moves: Move) -> set[str]:
        """All at once; whose row stood as expected."""
        mover = Mover(self.sender.dispatch_id, CAMPAIGN, TEXT, self.sender.id)
        express = open_express(self.engine)
        try:
            return move_as_expected(express, mover, moves, AT)
        finally:
            express.close()

    def carefully(self, *moves: Move) -> None:
        """One after the other, by `apply_moves`."""
        mover = Mover(self.sender.dispatch_id, CAMPAIGN, TEXT, self.sender.id)
        for move in moves:
            with database.writing(self.engine, "testing") as connection:
                assert apply_moves(connection, mover, [move], AT)[0].moved


@pytest.fixture
def express(postgres_address: str) -> Iterator[Express]:
    """On a ledger of its own."""
    ledger, engine = Ledger.open(postgres_address), database.create_ledger_engine(postgres_address)
    yield Express(ledger, Sender(ledger), engine)
    engine.dispose()
    ledger.close()


def test_claims_and_answers_of_a_batch_are_made_together(express: Express) -> None:
    """Somebody new, an answer to a claim, a claim of an open row, a decision about nobody yet."""
    express.carefully(claim(A, "1"), Move(B, OPEN, "not reached"))
    pending = Move(A, ACCEPTED, "answered", "pending", claim_id="1", expire_at=AT + timedelta(days=1))
    refused = Move("lead:7", REFUSED, "looked", "not_subscribed")
    assert express.move(claim(C, "3"), pending, claim(B, "2", OPEN), refused) == {A, B, C, "lead:7"}
    assert path_of(express.ledger, A) == [CLAIMED, ACCEPTED]
    assert path_of(express.ledger, B) == [OPEN, CLAIMED]
    assert path_of(express.ledger, "lead:7") == [REFUSED]
    row = express.ledger.rows(express.sender.dispatch_id, [A])[A]
    assert (row.reason, row.expire_at, row.updated_at) == ("pending", AT + timedelta(days=1), AT)
    assert (row.event_id, row.claimer_id) == (CAMPAIGN.event_id(A), express.sender.id)


@pytest.mark.parametrize(
    "move",
    [
        claim(A, "2"),
        claim(A, "2", OPEN),
        claim(A, "2", CLAIMED),
        settle(A, ACCEPTED, "2"),
        settle(B, ACCEPTED, "1"),
        Move(A, REFUSED, "looked", "not_subscribed"),
    ],
)
def test_a_row_that_stands_otherwise_is_left_alone(express: Express, move: Move) -> None:
    """Not even its history changes; the careful way says what stands there."""
    express.carefully(claim(A, "1"))
    assert express.move(move) == set()
    assert path_of(express.ledger, A) == [CLAIMED]
    assert express.ledger.history(B) == []


def test_a_late_answer_goes_the_careful_way(express: Express) -> None:
    """It may find its claim in doubt: allowed, but not expected."""
    express.carefully(claim(A, "1"), settle(A, IN_DOUBT, "1"))
    assert express.move(settle(A, ACCEPTED, "1")) == set()
    express.carefully(settle(A, ACCEPTED, "1"))


@pytest.mark.parametrize("state", [REFUSED, ACCEPTED, IN_DOUBT])
def test_who_has_been_through_goes_the_careful_way(express: Express, state: DeliveryState) -> None:
    """The state alone does not tell whether the row is due."""
    express.carefully(claim(A, "1"), settle(A, state, "1"))
    assert express.move(claim(A, "2", state), Move(A, DeliveryState.ALREADY, "looked", seen=state)) == set()
    assert path_of(express.ledger, A) == [CLAIMED, state]


@pytest.mark.parametrize("seen", [None, OPEN])
def test_of_two_batches_at_once_each_number_goes_to_one(express: Express, seen: DeliveryState | None) -> None:
    """In whatever order they come; nobody waits for the other for ever."""
    numbers = [f"+1202555{n:04}" for n in range(400)]
    if seen is OPEN:
        express.move(*[Move(phone, OPEN, "not reached") for phone in numbers])
    batches = [numbers[n : n + 40] for n in range(0, 400, 40)]

    def claim_all(name: str, backwards: bool) -> set[str]:
        return set().union(
            *[
                express.move(*[claim(phone, name, seen) for phone in (batch[::-1] if backwards else batch)])
                for batch in batches
            ]
        )

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(claim_all, ["one", "other"], [False, True])
    assert not one & other
    assert one | other == set(numbers)


def test_what_moved_as_expected_survives_a_crash(express: Express) -> None:
    """It is committed, whatever the server does by default."""
    express.move(claim(A, "1"))
    with express.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    assert express.sender.state(A) is CLAIMED
