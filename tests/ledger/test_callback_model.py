"""Callbacks in any order, told twice, heard by several at once, between senders that die: what stands at the
end is decided by what happened, not by how it was told."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.opt_in import OptIn
from airflow_sms_flow.ledger import Ledger, Member
from tests.ledger.callbacks import (
    CAMPAIGN_ID,
    COMPANY,
    DELIVERED,
    HARD_BOUNCE,
    LIST,
    NOT_SUBSCRIBED,
    ROUTED,
    T,
    answered,
    asked,
    event,
    joined,
    left,
    raw,
)
from tests.ledger.moves import CAMPAIGN, Sender, claim, path_of, settle
from tests.ledger.test_model import LEASE, PHONES, phones

ACCEPTED, REFUSED, OPEN = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.OPEN
CLAIMED, IN_DOUBT = DeliveryState.CLAIMED, DeliveryState.IN_DOUBT
stages = st.sampled_from([ROUTED, DELIVERED, HARD_BOUNCE, NOT_SUBSCRIBED])
Body = dict[str, Any]


class CallbackMachine(RuleBasedStateMachine):
    """What happens at Vibes, and the ledger, to which it is told late, twice, in any order."""

    posts = Bundle("posts")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        self.stack.callback(self.ledger.close)
        self.minute = 0
        self.claims = 0
        self.texts: Counter[str] = Counter()
        self.told: dict[str, list[tuple[int, bool]]] = {phone: [] for phone in PHONES}
        self.refused: set[str] = set()
        self.taken: dict[str, list[str]] = {}

    @initialize()
    def two_senders(self) -> None:
        """Two tries of one task, side by side; the campaign's list is known."""
        self.senders = [Sender(self.ledger, lease=LEASE) for _ in range(2)]
        self.ledger.name_list(COMPANY, CAMPAIGN_ID, LIST)

    # -- what happens at Vibes -----------------------------------------------------------------------------

    @rule(target=posts, phone=phones, joins=st.booleans(), same_minute=st.booleans())
    def turn(self, phone: str, joins: bool, same_minute: bool) -> tuple[str, Body, tuple[int, bool]]:
        """Somebody joins the list or leaves it; now and then two such things bear one time."""
        self.minute += not same_minute
        body = joined(phone, self.minute) if joins else left(phone, self.minute)
        return phone, body, (self.minute, joins)

    @rule(target=posts, who=st.integers(0, 1), phone=phones, stage=stages, answers=st.booleans())
    def send(self, who: int, phone: str, stage: tuple[str, str, str], answers: bool) -> Any:
        """A sender claims and its event arrives; the answer may be lost with the sender."""
        sender = self.senders[who]
        seen, settled = self.ledger.known(sender.dispatch_id, sender.fingerprint).look_up([phone])[0]
        self.claims += 1
        claim_id = f"claim {self.claims}"
        may = not settled and seen not in (CLAIMED, IN_DOUBT)
        if not may or not sender.write(claim(phone, claim_id, seen))[0].moved:
            return phone, event("0" * 32, ROUTED, self.minute), None
        self.texts[phone] += 1
        if answers:
            sender.write(settle(phone, ACCEPTED, claim_id))
        else:
            self.crash(who)
        return phone, event(CAMPAIGN.event_id(phone), stage, self.minute), stage

    # -- how it is told ------------------------------------------------------------------------------------

    @rule(post=posts)
    def tell(self, post: Any) -> None:
        """A callback comes in, perhaps for the third time."""
        phone, body, what = post
        self.ledger.store_callbacks([raw(body), raw(body)])
        if isinstance(what, tuple) and isinstance(what[0], int):
            self.told[phone].append(what)
        if what == NOT_SUBSCRIBED:
            self.refused.add(phone)

    @rule(limit=st.integers(1, 5))
    def hear(self, limit: int) -> None:
        """Somebody hears a part of the inbox."""
        self.ledger.hear(limit)

    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        """A sender is gone, its lease run out, and a retry takes its place."""
        self.ledger.end_claimer(self.senders[who].id)
        self.senders[who] = Sender(self.ledger, lease=LEASE)

    @rule(run=st.integers(1, 5))
    def take(self, run: int) -> None:
        """A run takes what is new, a retry of it the same again."""
        found = self._take("welcome", f"run {run}")
        assert self.taken.setdefault(f"run {run}", found) == found

    def _take(self, cursor: str, owner: str) -> list[str]:
        taken = self.ledger.take_changes(
            cursor,
            owner,
            company_key=COMPANY,
            kind=ChangeKind.SUBSCRIBED,
            scope_id=LIST,
            first_since=T - timedelta(days=1),
        )
        return [change.phone for batch in self.ledger.changes(taken) for change in batch]

    # -- what must hold ------------------------------------------------------------------------------------

    @invariant()
    def nobody_gets_two(self) -> None:
        """Whatever came back in whatever order."""
        assert all(texts == 1 for texts in self.texts.values())

    @invariant()
    def nobody_is_lost(self) -> None:
        """Whoever was reached is settled, waited for or in doubt, and the history leads there."""
        rows = self.ledger.rows(self.senders[0].dispatch_id, PHONES)
        assert rows.keys() == self.texts.keys()
        for phone, row in rows.items():
            assert path_of(self.ledger, phone)[-1] is row.state
            assert is_settled(row.state, row.reason) or row.state in (CLAIMED, IN_DOUBT)

    def teardown(self) -> None:
        """Once all is heard: the newest event counts, refusals are told, each change was taken once."""
        self.ledger.hear_all()
        members = self.ledger.members(COMPANY, LIST, PHONES)
        for phone, told in self.told.items():
            assert (phone in members) is bool(told)
            if told:
                newest = max((minute, not joins) for minute, joins in told)
                assert members[phone].subscribed is not newest[1]
        sender = self.senders[0]
        for phone in self.refused:
            assert sender.known(phone) is REFUSED
        self.taken["the last"] = self._take("welcome", "the last")
        all_taken = Counter(phone for found in self.taken.values() for phone in found)
        assert all_taken == Counter(self._take("another cursor", "me"))
        self.stack.close()


CallbackMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_callbacks_between_senders_and_crashes = CallbackMachine.TestCase


# -- the same story, told differently ------------------------------------------------------------------------


def _bodies(phone: str) -> st.SearchStrategy[Body]:
    minutes = st.integers(1, 4)
    days = st.sampled_from([0, -3 * 24 * 60])
    return st.one_of(
        st.builds(joined, st.just(phone), minutes),
        st.builds(left, st.just(phone), minutes),
        st.builds(asked, st.just(phone), days),
        st.builds(
            lambda day, minute, yes: answered(phone, day + minute, yes=yes, asked_minutes=day),
            days,
            minutes,
            st.booleans(),
        ),
        st.builds(event, st.just(CAMPAIGN.event_id(phone)), stages, minutes),
    )


State = tuple[dict[str, Member], dict[str, OptIn], list[tuple[DeliveryState, str | None]], Any]


def _told(bodies: list[Body], limit: int) -> State:
    """What the ledger says once it has heard these, in batches of this size."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
        sender = Sender(ledger)
        ledger.name_list(COMPANY, CAMPAIGN_ID, LIST)
        for phone in PHONES[:2]:
            sender.write(claim(phone, phone), settle(phone, IN_DOUBT, phone, "no_answer"))
        ledger.store_callbacks([raw(body) for body in bodies])
        while ledger.hear(limit).left:
            pass
        rows = ledger.rows(sender.dispatch_id, PHONES)
        try:
            return (
                {p: replace(m, source="") for p, m in ledger.members(COMPANY, LIST, PHONES).items()},
                ledger.opt_ins(COMPANY, CAMPAIGN_ID, PHONES),
                [(row.state, row.reason) for _, row in sorted(rows.items())],
                ledger.delivery_report(CAMPAIGN),
            )
        finally:
            ledger.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(PHONES[:2]).flatmap(_bodies), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
    st.integers(1, 7),
)
def test_the_same_story_told_in_another_order_ends_the_same(
    bodies: list[Body], random: Any, limit: int
) -> None:
    """Repeated under other ids, shuffled, and heard in other batches."""
    twice = [*bodies, *({**body, "event_id": f"again {n}"} for n, body in enumerate(bodies))]
    random.shuffle(twice)
    assert _told(twice, limit) == _told(bodies, 500)


def test_times_of_this_module_are_in_the_past() -> None:
    """Or they would be cut to the time of arrival, and the order of arrival would count."""
    assert T + timedelta(minutes=60) < datetime.now(T.tzinfo)
