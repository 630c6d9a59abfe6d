"""Unsubscribe believes a 404 only after a second look."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.steps.step import Go, Recipient
from airflow_sms_flow.steps.unsubscribe import UnsubscribeStep
from tests.sandbox.sandbox_caller import OTHER, PERSON, Caller
from tests.steps.conftest import LIST, make_client

SOMEBODY, NUMBERLESS = Recipient(7, PERSON), Recipient(7, "lead:7")
#: Where a DELETE by person key goes.
DELETE = {"method": "DELETE", "path": "/companies/acme/mobiledb/persons/*/subscriptions/*"}


@pytest.fixture
def step(vibes: Caller, client: VibesClient) -> UnsubscribeStep:
    """Somebody is on the list."""
    vibes.load(subscriptions=[{"phone": PERSON, "list_id": LIST, "external_person_id": "7"}])
    return UnsubscribeStep(client, LIST)


def go_of(step: UnsubscribeStep) -> Go:
    """The look finds the person's key."""
    go = step.decide(SOMEBODY, None)
    assert isinstance(go, Go)
    assert go.value
    return go


def act(step: UnsubscribeStep, recipient: Recipient, go: Go) -> Answer:
    """Take them off, under a slot."""
    return step.act(recipient, go, step.effects.take(), "event id")


def test_somebody_on_the_list_is_taken_off(vibes: Caller, step: UnsubscribeStep) -> None:
    """Found by number, taken off by key; a second time there is nothing to do."""
    answer = act(step, SOMEBODY, go_of(step))
    assert (answer.kind, answer.reason) == (AnswerClass.OK, "unsubscribed")
    again = step.decide(SOMEBODY, None)
    assert isinstance(again, Answer)
    assert (again.kind, again.reason) == (AnswerClass.ALREADY, "not_subscribed")


def test_somebody_who_left_in_between_is_already_off(vibes: Caller, step: UnsubscribeStep) -> None:
    """The 404 is right: the second look does not find them either."""
    go = go_of(step)
    vibes.panel("POST", "reply", json={"phone": PERSON, "text": "STOP"})
    answer = act(step, SOMEBODY, go)
    assert (answer.kind, answer.reason) == (AnswerClass.ALREADY, "not_subscribed")


def test_a_404_about_somebody_who_is_still_on_the_list_does_not_count(
    vibes: Caller, step: UnsubscribeStep
) -> None:
    """Taken for "done", it would leave on the list a person who wants to leave."""
    go = go_of(step)
    vibes.panel("POST", "faults", json={"kind": "status", "status": 404, "count": 1} | DELETE)
    answer = act(step, SOMEBODY, go)
    assert (answer.kind, answer.reason) == (AnswerClass.RETRY, "still_subscribed")
    assert act(step, SOMEBODY, go).kind is AnswerClass.OK


def test_a_second_look_that_fails_is_no_answer(vibes: Caller, step: UnsubscribeStep) -> None:
    """Neither done nor refused: again, later."""
    go = go_of(step)
    vibes.panel("POST", "faults", json={"kind": "status", "status": 404, "count": 1} | DELETE)
    vibes.panel("POST", "faults", json={"kind": "status", "status": 502, "method": "GET"})
    assert act(step, SOMEBODY, go).kind is AnswerClass.RETRY


def test_a_stop_before_the_second_look_is_no_answer(vibes: Caller, step: UnsubscribeStep) -> None:
    """All that left was answered: the row is open for the next try, not claimed without an end."""
    go, stop = go_of(step), threading.Event()
    vibes.panel("POST", "faults", json={"kind": "status", "status": 404, "count": 1} | DELETE)
    with closing(make_client(vibes, stop.is_set)) as client:
        stopping = UnsubscribeStep(client, LIST)
        slot = stopping.effects.take()
        stop.set()
        answer = stopping.act(SOMEBODY, go, slot, "event id")
    assert (answer.kind, answer.reason) == (AnswerClass.RETRY, "stopped")


def test_a_lost_answer_is_simply_repeated(vibes: Caller, step: UnsubscribeStep) -> None:
    """Leaving twice is leaving once."""
    go = go_of(step)
    vibes.panel("POST", "faults", json={"kind": "reset_after", "count": 1} | DELETE)
    assert act(step, SOMEBODY, go).kind is AnswerClass.RETRY
    again = step.decide(SOMEBODY, None)
    assert isinstance(again, Answer)
    assert again.kind is AnswerClass.ALREADY


def test_a_lead_without_a_number_is_found_by_its_id(vibes: Caller, step: UnsubscribeStep) -> None:
    """Vibes keeps the Marketo id as external person id; there is nothing to look up before."""
    assert step.decide(NUMBERLESS, None) == Go(looked=False)
    assert act(step, NUMBERLESS, Go()).reason == "unsubscribed"


def test_an_unknown_lead_without_a_number_is_not_done(vibes: Caller, step: UnsubscribeStep) -> None:
    """The 404 may mean that Vibes knows the person under another id: somebody has to look."""
    answer = act(step, Recipient(8, "lead:8"), Go())
    assert (answer.kind, answer.reason) == (AnswerClass.REFUSED, "unknown_person")


def test_somebody_with_neither_number_nor_marketo_id_is_not_looked_for(
    vibes: Caller, step: UnsubscribeStep
) -> None:
    """A made-up id may be another person's at Vibes: nobody is taken off by it."""
    vibes.load(subscriptions=[{"phone": OTHER, "list_id": LIST, "external_person_id": "-1"}])
    answer = step.decide(Recipient(-1, "lead:0"), None)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason) == (AnswerClass.REFUSED, "unknown_person")
    assert vibes.effects("unsubscribed") == []
