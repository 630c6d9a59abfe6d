"""What lacks, what stands, what is outdated and what is not ours."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from airflow_sms_flow.core.registrations import Need, Registration
from airflow_sms_flow.steps.callback_plan import CallbackAddress, Leads, Plan, make_plan

HERE = CallbackAddress("https://flow.example.com/sms-flow/callbacks/the-newest-secret")
ROTATED = "https://flow.example.com/sms-flow/callbacks/the-secret-before"
THEIRS = "https://other.example.com/hook/their-secret"
TODAY = date(2026, 3, 2)
JOINED, LEFT = Need("subscription_added", "12"), Need("subscription_removed", "12")
SENT = Need("event_processed", "Offer")


def registration(need: Need = JOINED, url: str = HERE.url, **changes: Any) -> Registration:
    """It stands at Vibes."""
    usual = {"id": "1", "callback_type": need.callback_type, "subject": need.subject, "url": url}
    return Registration(**(usual | changes))


def plan(*found: Registration, needs: tuple[Need, ...] = (JOINED,), replace: bool = False) -> Plan:
    """For today."""
    return make_plan(needs, found, HERE, today=TODAY, replace=replace)


def test_what_lacks_is_to_be_created() -> None:
    """An empty account lacks everything."""
    assert plan(needs=(JOINED, LEFT)) == Plan((), (JOINED, LEFT), (), (), ())


def test_what_stands_is_left_alone() -> None:
    """Also where the vendor writes our address a little differently."""
    assert plan(registration()) == Plan((JOINED,), (), (), (), ())
    same = registration(url=HERE.url.replace("flow.example.com", "FLOW.example.com:443"))
    assert plan(same, replace=True).standing == (JOINED,)


@pytest.mark.parametrize(
    "other",
    [
        {"callback_type": "subscription_removed"},
        {"callback_type": "person_added", "subject": None},
        {"subject": "13"},
    ],
)
@pytest.mark.parametrize("replace", [False, True])
def test_other_types_and_other_lists_are_never_touched(other: dict[str, Any], replace: bool) -> None:
    """Wherever they lead, and whatever is replaced."""
    for url in (HERE.url, ROTATED, THEIRS):
        assert plan(registration(url=url, **other), replace=replace) == Plan((), (JOINED,), (), (), ())


@pytest.mark.parametrize(
    "outdated",
    [
        registration(url=ROTATED),
        registration(end_date=date(2026, 3, 1)),
        registration(start_date=date(2026, 3, 3)),
        registration(SENT, callbacks_to_send="only_failures"),
    ],
)
def test_an_outdated_one_of_ours_goes_once_the_new_one_stands(outdated: Registration) -> None:
    """New first, then old: nothing is missed in between. No `replace` is wanted for it."""
    need = Need(outdated.callback_type, str(outdated.subject))
    assert plan(outdated, needs=(need,)) == Plan((), (need,), (), (outdated,), ())
    good = registration(need, id="2")
    assert plan(outdated, good, needs=(need,)) == Plan((need,), (), (outdated,), (), ())


def test_dates_that_include_today_stand() -> None:
    """An end in the future is somebody's own decision."""
    assert plan(registration(start_date=TODAY, end_date=TODAY)).standing == (JOINED,)


def test_what_leads_elsewhere_is_reported_and_stays() -> None:
    """Vibes tells several addresses, so ours is added beside theirs."""
    theirs = registration(url=THEIRS)
    assert plan(theirs) == Plan((), (JOINED,), (), (), (theirs,))
    assert plan(theirs, registration(id="2")) == Plan((JOINED,), (), (), (), (theirs,))


def test_what_leads_elsewhere_goes_only_if_told_so_and_last() -> None:
    """Ours must stand first."""
    theirs = registration(url=THEIRS)
    assert plan(theirs, replace=True) == Plan((), (JOINED,), (), (theirs,), ())
    assert plan(theirs, registration(id="2"), replace=True) == Plan((JOINED,), (), (theirs,), (), ())


def test_of_two_of_ours_the_older_one_stays() -> None:
    """Two tasks that registered at once agree on which; ids are counted, so 9 is older than 10."""
    one, other = registration(id="9"), registration(id="10")
    for found in ((one, other), (other, one)):
        assert plan(*found) == Plan((JOINED,), (), (other,), (), ())


def test_one_of_ours_for_every_event_type_covers_each() -> None:
    """And is never taken away for a narrower one; nor is somebody else's."""
    every = registration(SENT, subject=None)
    assert plan(every, needs=(SENT,)) == Plan((SENT,), (), (), (), ())
    for url in (ROTATED, THEIRS):
        other = registration(SENT, subject=None, url=url)
        assert plan(other, needs=(SENT,), replace=True) == Plan((), (SENT,), (), (), ())


def test_event_types_are_compared_without_case() -> None:
    """As Vibes compares them (facts A.6)."""
    assert plan(registration(SENT, subject="oFFer"), needs=(SENT,)).standing == (SENT,)


def test_source_codes_of_two_countries_are_two_things() -> None:
    """Where both are known; a country that is not known is any."""
    need = Need("unmatched_message_received", "52623", "1")
    assert plan(registration(need, country_code="44"), needs=(need,)).lacking == (need,)
    for country in (None, "1"):
        assert plan(registration(need, country_code=country), needs=(need,)).standing == (need,)


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        (HERE.url, Leads.HERE),
        (ROTATED, Leads.OUTDATED),
        (THEIRS, Leads.ELSEWHERE),
        ("http://flow.example.com/sms-flow/callbacks/the-newest-secret", Leads.ELSEWHERE),
        ("https://flow.example.com:8443/sms-flow/callbacks/the-newest-secret", Leads.ELSEWHERE),
        ("https://flow.example.com/sms-flow/callbacks/", Leads.ELSEWHERE),
        ("https://flow.example.com/sms-flow/callbacks/x/y", Leads.ELSEWHERE),
        ("https://flow.example.com/sms-flow/callbacks/x?y", Leads.ELSEWHERE),
        ("https://flow.example.com.evil.example/sms-flow/callbacks/x", Leads.ELSEWHERE),
        ("https://me:pw@flow.example.com/sms-flow/callbacks/x", Leads.ELSEWHERE),
        ("https://flow.example.com:port/sms-flow/callbacks/x", Leads.ELSEWHERE),
        ("https://[::1/x", Leads.ELSEWHERE),
        ("", Leads.ELSEWHERE),
    ],
)
def test_an_address_is_ours_up_to_its_secret(url: str, leads: Leads) -> None:
    """And nothing else is: it would be taken away."""
    assert HERE.leads(url) is leads


def test_addresses_are_shown_without_secrets() -> None:
    """Ours up to the secret; of others, who may keep theirs anywhere, the host."""
    assert HERE.shown(HERE.url) == "https://flow.example.com/sms-flow/callbacks/***"
    assert HERE.shown(ROTATED) == "https://flow.example.com/sms-flow/callbacks/***"
    assert (
        HERE.shown("https://me:pw@other.example.com:8443/hook/x?key=y")
        == "https://other.example.com:8443/***"
    )
    assert HERE.shown("https://[::1]:8443/x") == "https://[::1]:8443/***"
    assert HERE.shown("//") == "(an address that cannot be read)"
    assert "secret" not in repr([HERE, registration(url=ROTATED)])
