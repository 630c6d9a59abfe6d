"""Opt-ins as callbacks move them, beside what sensors store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.core.facts import ChangeKind, Joined
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.ledger import Ledger
from tests.ledger.callbacks import CAMPAIGN_ID, COMPANY, LIST, answered, asked, at, hear, joined, left
from tests.ledger.moves import CAMPAIGN, A, B, C, Sender, claim, settle

PENDING, CONFIRMED, DECLINED = OptInState.PENDING, OptInState.CONFIRMED, OptInState.DECLINED
EXPIRE = at(0) + timedelta(days=1)


def _states(ledger: Ledger) -> dict[str, OptInState]:
    return {phone: one.state for phone, one in ledger.opt_ins(COMPANY, CAMPAIGN_ID, [A, B, C]).items()}


def test_a_question_and_its_answers(ledger: Ledger) -> None:
    """Told by the campaign alone, before any sensor knows of it."""
    hear(ledger, asked(A, 0), asked(B, 0), asked(C, 0))
    hear(ledger, answered(A, 3, yes=True), answered(B, 3, yes=False))
    assert _states(ledger) == {A: CONFIRMED, B: DECLINED, C: PENDING}


def test_answers_tell_of_the_list_once_it_is_known(ledger: Ledger) -> None:
    """From a sensor, also when the answers came first: the Yes is a member, the No is none."""
    hear(ledger, answered(A, 3, yes=True), answered(B, 3, yes=False))
    assert ledger.members(COMPANY, LIST, [A, B]) == {}
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {C: OptIn(EXPIRE)})
    assert {p: m.subscribed for p, m in ledger.members(COMPANY, LIST, [A, B]).items()} == {A: True, B: False}
    hear(ledger, answered(C, 4, yes=True))
    assert ledger.members(COMPANY, LIST, [C])[C].subscribed
    assert ledger.latest_change(COMPANY, ChangeKind.UNSUBSCRIBED, LIST) == 0  # B never was on the list


def test_a_registration_may_tell_the_list(ledger: Ledger) -> None:
    """Those who said Yes today are news; telling it twice changes nothing."""
    hear(ledger, answered(A, 3, yes=True))
    ledger.name_list(COMPANY, CAMPAIGN_ID, LIST)
    newest = ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST)
    ledger.name_list(COMPANY, CAMPAIGN_ID, LIST)
    assert newest == ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) > 0


def test_a_yes_of_long_ago_is_no_news_once_the_list_is_known(ledger: Ledger) -> None:
    """They are on the list, but a DAG that welcomes people is for whoever joins now."""
    hear(ledger, answered(A, -3 * 24 * 60, yes=True))
    ledger.name_list(COMPANY, CAMPAIGN_ID, LIST)
    assert ledger.members(COMPANY, LIST, [A])[A].subscribed
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) == 0


def test_subscribes_own_key_tells_the_list(ledger: Ledger) -> None:
    """Its usual campaign key names the acquisition campaign."""
    key = f"once:{CAMPAIGN_ID}"
    ledger.dispatch_id(type(CAMPAIGN)(COMPANY, key, StepName.SUBSCRIBE, LIST))
    hear(ledger, answered(A, 3, yes=True))
    assert ledger.members(COMPANY, LIST, [A])[A].subscribed


def test_who_joins_the_list_has_confirmed(ledger: Ledger) -> None:
    """The callback of the list alone is enough, before or after the sensor's first look; leaving again does
    not take the Yes back, and somebody who was on the list before the question has not answered it."""
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {A: OptIn(EXPIRE)})
    hear(ledger, joined(A, 5), joined(B, 5), joined(C, -5 * 24 * 60))
    hear(ledger, left(A, 6))
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {B: OptIn(EXPIRE), C: OptIn(EXPIRE)})
    assert _states(ledger) == {A: CONFIRMED, B: CONFIRMED, C: PENDING}


def test_a_join_that_was_taken_back_answers_no_question_of_unknown_time(ledger: Ledger) -> None:
    """They were asked anew after it: by a STOP, by our own Unsubscribe. Where callbacks told of the question,
    its time decides."""
    hear(ledger, asked(C, 4), *(joined(phone, 5) for phone in (A, B, C)), left(A, 6), left(C, 6))
    goodbye = Sender(ledger, replace(CAMPAIGN, campaign_key="goodbye", step=StepName.UNSUBSCRIBE))
    goodbye.write(claim(B, "1"), settle(B, DeliveryState.ACCEPTED, "1"))
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, dict.fromkeys((A, B, C), OptIn(EXPIRE)))
    assert _states(ledger) == {A: PENDING, B: PENDING, C: CONFIRMED}


def test_a_join_of_the_days_before_the_question_does_not_answer_it(ledger: Ledger) -> None:
    """Also where the callback of their STOP was lost."""
    hear(ledger, joined(A, -60))
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {A: OptIn(EXPIRE)})
    assert _states(ledger) == {A: PENDING}


def test_a_file_from_before_the_question_does_not_answer_it(ledger: Ledger) -> None:
    """It still has who left since, and was asked anew."""
    hear(ledger, joined(A, -365 * 24 * 60), left(A, -60), left(B, -60))
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, dict.fromkeys((A, B, C), OptIn(EXPIRE)))
    stale = [Joined(LIST, phone, at(-12 * 60)) for phone in (A, B, C)]
    ledger.note_membership(COMPANY, LIST, stale, "extract")
    assert _states(ledger) == {A: PENDING, B: PENDING, C: PENDING}


def test_a_poll_does_not_undo_what_was_heard_meanwhile(ledger: Ledger) -> None:
    """The sensor looked before the answer came, and stores after it."""
    looked = OptIn(EXPIRE)
    hear(ledger, answered(A, 3, yes=True), answered(B, 3, yes=False))
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {A: looked, B: OptIn(EXPIRE, CONFIRMED), C: looked})
    assert _states(ledger) == {A: CONFIRMED, B: DECLINED, C: PENDING}


def test_another_company_is_another_world(ledger: Ledger) -> None:
    """Ids of campaigns and lists are counted by each by itself."""
    ledger.store_opt_ins(COMPANY, CAMPAIGN_ID, LIST, {A: OptIn(EXPIRE)})
    hear(ledger, answered(A, 3, yes=True), joined(A, 3), company_key="globex")
    assert _states(ledger) == {A: PENDING}
    assert ledger.members(COMPANY, LIST, [A]) == {}
