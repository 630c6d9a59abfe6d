"""Two senders, crashes, late answers and people's words in any order, against a model of a few lines."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.ledger import Lease, Ledger
from airflow_sms_flow.ledger.deliveries import Move
from tests import postgres
from tests.ledger.callbacks import NOT_SUBSCRIBED, event, hear
from tests.ledger.moves import CAMPAIGN, Sender, claim, path_of, settle

ACCEPTED, REFUSED, OPEN = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.OPEN
CLAIMED, IN_DOUBT = DeliveryState.CLAIMED, DeliveryState.IN_DOUBT

#: Longer than any example runs: claimers die by word here, not by time.
LEASE = Lease(3600, 3600)
PHONES = [f"+1202555010{n}" for n in range(3)]
phones = st.sampled_from(PHONES)
#: Where somebody stood when a sender looked, however long ago. What is in doubt is nobody's to claim here.
outdated = st.sampled_from([None, OPEN, REFUSED, ACCEPTED])


class LedgerMachine(RuleBasedStateMachine):
    """On SQLite. `texts` is what left the house: what no crash can undo. Senders hold what is in doubt."""

    under_way = Bundle("under_way")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.ledger = Ledger.open(self.fresh_address())
        self.stack.callback(self.ledger.close)
        self.texts: Counter[str] = Counter()
        #: Texts that a person wrongly called "not sent": the one way to a second text.
        self.excused: Counter[str] = Counter()
        self.touched: set[str] = set()
        self.claims = 0

    def fresh_address(self) -> str:
        """An empty database for one example."""
        return f"sqlite:///{self.stack.enter_context(tempfile.TemporaryDirectory())}/ledger.db"

    @initialize()
    def two_senders(self) -> None:
        """Two tries of one task, side by side."""
        self.senders = [Sender(self.ledger, lease=LEASE) for _ in range(2)]

    @rule(target=under_way, who=st.integers(0, 1), phone=phones, stale=outdated)
    def begin(self, who: int, phone: str, stale: DeliveryState | None) -> tuple[int, str, str] | None:
        """Claim what a sender would claim, or from an outdated look; then the request is under way."""
        sender = self.senders[who]
        seen, settled = self.ledger.known(sender.dispatch_id, sender.fingerprint).look_up([phone])[0]
        if settled or seen in (CLAIMED, IN_DOUBT):
            seen = stale
        self.claims += 1
        claim_id = f"claim {self.claims}"
        asked = replace(claim(phone, claim_id, seen), again_after=timedelta(hours=1))
        if not sender.write(asked)[0].moved:
            return None
        self.touched.add(phone)
        return who, phone, claim_id

    @rule(one=consumes(under_way), accepted=st.sampled_from([ACCEPTED, REFUSED, OPEN, IN_DOUBT]))
    def answer(self, one: tuple[int, str, str] | None, accepted: DeliveryState) -> None:
        """The request arrives or not, and its answer comes back, whoever has died since."""
        if one is None:
            return
        who, phone, claim_id = one
        self.texts[phone] += accepted in (ACCEPTED, IN_DOUBT)
        before = self.senders[who].state(phone)
        moved = self.senders[who].write(settle(phone, accepted, claim_id))[0].moved
        if accepted is ACCEPTED and before is CLAIMED:
            assert moved

    @rule(one=consumes(under_way), arrived=st.booleans())
    def lose_answer(self, one: tuple[int, str, str] | None, arrived: bool) -> None:
        """The process dies with its request: nobody knows whether it arrived."""
        if one is not None:
            who, phone, _ = one
            self.texts[phone] += arrived
            self.crash(who)

    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        """A sender is gone, its lease run out, and a retry takes its place."""
        self.ledger.end_claimer(self.senders[who].id)
        self.senders[who] = Sender(self.ledger, lease=LEASE)

    @rule(phone=phones, seen=outdated)
    def decide(self, phone: str, seen: DeliveryState | None) -> None:
        """A decision without a request, made from a look that may be old."""
        if self.senders[0].write(Move(phone, REFUSED, "looked", "not_subscribed", seen=seen))[0].moved:
            self.touched.add(phone)

    @rule(phone=phones)
    def refuse_late(self, phone: str) -> None:
        """Vibes tells that a text which it took will not be delivered: it counts as sent all the same."""
        if self.texts[phone]:
            hear(self.ledger, event(CAMPAIGN.event_id(phone), NOT_SUBSCRIBED, 1))

    @rule(phone=phones, sent=st.booleans())
    def settle_by_hand(self, phone: str, sent: bool) -> None:
        """A person looked at the vendor's side, or guessed."""
        moved = self.ledger.settle_in_doubt("summer", sent=sent, by="kim", phone=phone)
        if moved and not sent:
            self.excused[phone] += 1

    @invariant()
    def nobody_gets_two(self) -> None:
        """But those of whom a person said that they got none."""
        for phone, texts in self.texts.items():
            assert texts <= 1 + self.excused[phone]

    @invariant()
    def nobody_is_lost(self) -> None:
        """Whoever was touched has a row, and the history leads to where it stands."""
        rows = self.ledger.rows(self.senders[0].dispatch_id, PHONES)
        assert rows.keys() == self.touched
        for phone, row in rows.items():
            assert path_of(self.ledger, phone)[-1] is row.state
            if self.texts[phone] and not self.excused[phone]:
                assert is_settled(row.state, row.reason) or row.state in (CLAIMED, IN_DOUBT)

    def teardown(self) -> None:
        """Each example has a ledger of its own."""
        self.stack.close()


class PostgresMachine(LedgerMachine):
    """The same on PostgreSQL, where moves that find what they expect go a way of their own."""

    server: str

    def fresh_address(self) -> str:
        """A database of its own."""
        return self.stack.enter_context(postgres.fresh_database(self.server))


_SETTINGS = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_any_order_of_claims_crashes_answers_and_words() -> None:
    """On SQLite."""
    run_state_machine_as_test(LedgerMachine, settings=_SETTINGS)


def test_the_same_on_postgresql(postgres_server: str) -> None:
    """With fewer examples: a database each takes a while."""
    PostgresMachine.server = postgres_server
    run_state_machine_as_test(PostgresMachine, settings=settings(_SETTINGS, max_examples=8))
