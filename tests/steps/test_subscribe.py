"""Subscribe asks each person once, and never one who left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.clients.vibes_records import SubscriptionRecord
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.steps.step import Go, Recipient
from airflow_sms_flow.steps.subscribe import SubscribeStep, check_acquisition_campaign, newest_record
from tests.sandbox.sandbox_caller import PERSON, Caller
from tests.steps.conftest import LIST, NEWS

SOMEBODY = Recipient(7, PERSON)
IN_DOUBT = DeliveryState.IN_DOUBT


@pytest.fixture
def step(client: VibesClient) -> SubscribeStep:
    """With the default for people who left."""
    return SubscribeStep(client, LIST, NEWS)


def act(step: SubscribeStep) -> Answer:
    """Ask, under a slot."""
    return step.act(SOMEBODY, Go(), step.effects.take(), "event id")


def test_a_stranger_is_asked_and_pending(vibes: Caller, step: SubscribeStep) -> None:
    """The question's end comes with the answer; the Marketo id travels along."""
    assert step.decide(SOMEBODY, None) == Go()
    answer = act(step)
    assert (answer.kind, answer.reason) == (AnswerClass.OK, "pending")
    assert answer.value.expire_date > datetime.now(UTC)
    assert vibes.panel("GET", "state")["participants"][0]["phone"] == PERSON
    assert len(vibes.effects("opt_in_asked")) == 1


def test_somebody_on_the_list_is_left_in_peace(vibes: Caller, step: SubscribeStep) -> None:
    """Nothing to do."""
    vibes.load(subscriptions=[{"phone": PERSON, "list_id": LIST}])
    answer = step.decide(SOMEBODY, None)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.ALREADY, "subscribed")


@pytest.mark.parametrize(("opted_out", "asked"), [("refuse", False), ("ask", True)])
def test_somebody_who_left_is_asked_only_where_the_author_said_so(
    vibes: Caller, client: VibesClient, opted_out: str, asked: bool
) -> None:
    """The newest record on this list decides."""
    vibes.load(subscriptions=[{"phone": PERSON, "list_id": LIST, "opted_out": True}])
    answer = SubscribeStep(client, LIST, NEWS, opted_out).decide(SOMEBODY, None)
    if asked:
        assert answer == Go()
    else:
        assert isinstance(answer, Answer)
        assert (answer.kind, answer.reason) == (AnswerClass.REFUSED, "opted_out")


def test_leaving_another_list_does_not_count(vibes: Caller, step: SubscribeStep) -> None:
    """Each list has its own consent."""
    vibes.load(subscriptions=[{"phone": PERSON, "list_id": "1202", "opted_out": True}])
    assert step.decide(SOMEBODY, None) == Go()


def test_after_a_lost_answer_it_looks_before_it_asks_again(vibes: Caller, step: SubscribeStep) -> None:
    """The question arrived: pending, with its end, and nobody is asked twice."""
    vibes.panel("POST", "faults", json={"kind": "reset_after", "method": "POST", "count": 1})
    assert act(step).kind is AnswerClass.IN_DOUBT
    answer = step.decide(SOMEBODY, IN_DOUBT)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.OK, "pending")
    assert answer.value.expire_date is not None
    assert len(vibes.effects("opt_in_asked")) == 1


def test_a_lost_question_counts_though_the_person_is_not_found_yet(
    vibes: Caller, step: SubscribeStep
) -> None:
    """Vibes makes the person as the question is asked, and its lookup may lag behind."""
    vibes.panel("POST", "faults", json={"kind": "reset_after", "method": "POST", "count": 1})
    assert act(step).kind is AnswerClass.IN_DOUBT
    lookup = {"method": "GET", "path": "/companies/acme/mobiledb/persons", "status": 404}
    vibes.panel("POST", "faults", json={"kind": "status"} | lookup)
    answer = step.decide(SOMEBODY, IN_DOUBT)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.OK, "pending")


def test_a_question_that_never_arrived_is_asked_again(vibes: Caller, step: SubscribeStep) -> None:
    """Neither pending nor on the list nor left: then, and only then."""
    vibes.panel("POST", "faults", json={"kind": "reset_before", "method": "POST", "count": 1})
    assert act(step).kind is AnswerClass.IN_DOUBT
    assert step.decide(SOMEBODY, IN_DOUBT) == Go()
    assert act(step).reason == "pending"
    assert len(vibes.effects("opt_in_asked")) == 1


def test_somebody_who_answered_meanwhile_is_not_asked_again(vibes: Caller, step: SubscribeStep) -> None:
    """After a lost answer the person said Y, or N: the look finds the list, the vendor's block refuses."""
    vibes.panel("POST", "faults", json={"kind": "reset_after", "method": "POST", "count": 1})
    act(step)
    vibes.panel("POST", "reply", json={"phone": PERSON, "text": "N"})
    assert step.decide(SOMEBODY, IN_DOUBT) == Go()
    assert act(step).reason == "confirmation_block"
    assert len(vibes.effects("opt_in_asked")) == 1


def test_a_passing_fault_while_looking_is_no_decision(vibes: Caller, step: SubscribeStep) -> None:
    """ "Unknown" must not become "never left"."""
    vibes.panel("POST", "faults", json={"kind": "status", "status": 500, "method": "GET"})
    answer = step.decide(SOMEBODY, None)
    assert isinstance(answer, Answer)
    assert answer.kind is AnswerClass.RETRY


def test_the_campaign_must_lead_to_the_list(vibes: Caller, client: VibesClient) -> None:
    """The error names the campaigns that do."""
    check_acquisition_campaign(client, LIST, NEWS)
    with pytest.raises(InvalidInput, match=r"not an acquisition campaign of list 1202.*OFFR1202"):
        check_acquisition_campaign(client, "1202", NEWS)
    with pytest.raises(ConfigError, match="list_id='9999'"):
        check_acquisition_campaign(client, "9999", NEWS)


def test_the_newest_record_counts() -> None:
    """Leaving and rejoining makes two records; the order in which Vibes gives them does not matter."""
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    left = SubscriptionRecord(LIST, first, first, "keyword")
    back = SubscriptionRecord(LIST, second, None, None)
    elsewhere = SubscriptionRecord("1202", datetime(2026, 3, 1, tzinfo=UTC), second, None)
    assert newest_record([left, back, elsewhere], LIST) is back
    assert newest_record([back, left], LIST) is back
    assert newest_record([left], LIST) is left
    assert newest_record([elsewhere], LIST) is None
