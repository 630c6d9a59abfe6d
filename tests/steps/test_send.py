"""Send reaches who is on the list now, with the text rendered for them."""

from __future__ import annotations

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.message import SmsMessage
from airflow_sms_flow.steps.membership import LookUp, TrustCampaign
from airflow_sms_flow.steps.send import MESSAGE_FIELD, SendStep
from airflow_sms_flow.steps.step import Go, Recipient
from tests.sandbox.sandbox_caller import PERSON, Caller, wait_until
from tests.steps.conftest import LIST

SOMEBODY = Recipient(7, PERSON, {"firstName": "Ann"})


@pytest.fixture
def step(vibes: Caller, client: VibesClient) -> SendStep:
    """A campaign that prints our text to the members of the list stands and runs."""
    vibes.create_campaign()
    vibes.advance(1)
    message = SmsMessage("Hello {{lead.First Name:default=there}}").bind(["id", "phone", "firstName"])
    return SendStep(client, LookUp(client, LIST), "promo", message)


def join(vibes: Caller) -> None:
    """The person is on the list."""
    vibes.load(subscriptions=[{"phone": PERSON, "list_id": LIST}])


def test_somebody_on_the_list_gets_the_text(vibes: Caller, step: SendStep) -> None:
    """Rendered by us before it leaves; the event carries the delivery's own id."""
    join(vibes)
    go = step.decide(SOMEBODY, None)
    assert go == Go({MESSAGE_FIELD: "Hello Ann"})
    answer = step.act(SOMEBODY, go, step.effects.take(), "e" * 32)
    assert (answer.kind, answer.reason) == (AnswerClass.OK, "accepted")
    wait_until(lambda: vibes.texts() == ["Hello Ann"])
    assert vibes.effects("event_accepted")[0]["event_id"] == "e" * 32


def test_somebody_off_the_list_gets_nothing(vibes: Caller, step: SendStep) -> None:
    """Also one who was on it a moment ago."""
    answer = step.decide(SOMEBODY, None)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.REFUSED, "not_subscribed")
    join(vibes)
    vibes.panel("POST", "reply", json={"phone": PERSON, "text": "STOP"})
    again = step.decide(SOMEBODY, None)
    assert isinstance(again, Answer)
    assert again.reason == "not_subscribed"


def test_a_text_that_cannot_be_sent_is_refused_without_a_request(vibes: Caller, client: VibesClient) -> None:
    """With the reason of the message's own rules."""
    join(vibes)
    message = SmsMessage("{{lead.firstName}}").bind(["id", "phone", "firstName"])
    step = SendStep(client, LookUp(client, LIST), "promo", message)
    answer = step.decide(Recipient(7, PERSON, {"firstName": "x" * 901}), None)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.REFUSED, "too_long")


def test_a_lost_answer_is_a_doubt_and_held_unless_told_otherwise(vibes: Caller, step: SendStep) -> None:
    """The text may have left: only the author may order a repeat."""
    join(vibes)
    go = step.decide(SOMEBODY, None)
    assert isinstance(go, Go)
    vibes.panel("POST", "faults", json={"kind": "reset_after", "method": "POST", "count": 1})
    assert step.act(SOMEBODY, go, step.effects.take(), "e" * 32).kind is AnswerClass.IN_DOUBT
    assert not step.repeats_in_doubt
    assert SendStep(step.client, step.membership, "promo", None, "resend").repeats_in_doubt


def test_a_campaign_with_a_text_of_its_own_gets_the_number_alone(client: VibesClient, vibes: Caller) -> None:
    """`event_type` without a message."""
    join(vibes)
    assert SendStep(client, TrustCampaign(), "promo", None).decide(SOMEBODY, None) == Go({})


def test_a_refused_request_may_be_our_fault(step: SendStep) -> None:
    """400 and 422 name nobody; a size or a blocked number does."""
    assert step.blames_request(Answer(AnswerClass.REFUSED, "unprocessable"))
    assert step.blames_request(Answer(AnswerClass.REFUSED, "bad_request"))
    assert not step.blames_request(Answer(AnswerClass.REFUSED, "too_large"))
    assert not step.blames_request(Answer(AnswerClass.IN_DOUBT, "bad_request"))
