"""Vibes' stand-in: who may ask, who can be asked, who is on a list."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.sandbox.sandbox_caller import DB, LOGIN, NEWS, OTHER, PERSON, THIRD, Caller

LISTS = f"{DB}/subscription_lists/"
OFFERS = NEWS.replace("NEWS1201", "OFFR1202")
RECEIPTS = NEWS.replace("NEWS1201", "RCPT1203")


@pytest.mark.parametrize(
    ("auth", "company", "status"),
    [
        (None, "acme", 401),
        ((LOGIN[0], "wrong"), "acme", 401),
        (("globex-user", "globex-password"), "acme", 403),
        (LOGIN, "nobody", 404),
        (LOGIN, "acme", 200),
    ],
)
def test_credentials_open_their_own_company_only(
    caller: Caller, auth: Any, company: str, status: int
) -> None:
    """Wrong credentials are 401, another company's 403, an unknown company key 404."""
    answer = caller.vibes("GET", f"/companies/{company}/mobiledb/subscription_lists/", auth=auth)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["errors"][0]["code"] == status


def test_e164_needs_version_two_of_the_api(caller: Caller) -> None:
    """Without X-API-Version: 2, a number is a malformed request."""
    assert caller.vibes("GET", f"{DB}/persons", version="", params={"mdn": PERSON}).status_code == 400
    assert caller.vibes("GET", f"{DB}/persons", params={"mdn": PERSON}).status_code == 404
    body = {"mobile_phone": {"mdn": PERSON}}
    assert caller.vibes("POST", f"{NEWS}/participants", version="1", json=body).status_code == 400
    assert caller.vibes("GET", LISTS, version="").status_code == 200


@pytest.mark.parametrize("number", ["2025550132", "+1202555013", "+12025550132x", "tel:+12025550132", ""])
def test_a_malformed_number_is_refused(caller: Caller, number: str) -> None:
    """Anything but E.164 is 400, in a query and in a body."""
    assert caller.vibes("GET", f"{DB}/persons", params={"mdn": number}).status_code == 400
    assert caller.ask(number).status_code == 400


def test_a_raw_plus_in_a_query_is_a_space(caller: Caller) -> None:
    """The plus of a number must travel as %2B."""
    caller.ask()
    assert caller.vibes("GET", f"{DB}/persons?mdn={PERSON}").status_code == 400
    assert caller.vibes("GET", f"{DB}/persons?mdn={quote(PERSON)}").status_code == 200


def test_trailing_slashes_are_taken_and_left_alike(caller: Caller) -> None:
    """Old clients call several paths without the slash that the specification shows."""
    for path in (LISTS, LISTS.rstrip("/"), f"{LISTS}1201/", f"{LISTS}1201/acquisition_campaigns"):
        assert caller.vibes("GET", path).status_code == 200


def test_an_unknown_route_names_its_neighbours(caller: Caller) -> None:
    """A wrong path is answered with what would have been there."""
    answer = caller.vibes("GET", "/companies/acme/mobiledb/subscriptionlists")
    assert answer.status_code == 404
    assert "mobiledb/subscription_lists" in answer.json()["errors"][0]["message"]


def test_lists_and_campaigns_lead_to_each_other(caller: Caller) -> None:
    """Each list knows its acquisition campaigns; the campaign does not know its list."""
    lists = caller.vibes("GET", LISTS).json()
    assert [one["name"] for one in lists] == ["Store news", "Weekly offers", "Receipts"]
    found = caller.vibes("GET", lists[0]["acquisition_campaigns_url"]).json()
    assert [one["acquisition_id"] for one in found] == ["NEWS1201"]
    assert caller.vibes("GET", found[0]["url"]).json()["status"] == "active"
    assert len(caller.vibes("GET", "/companies/acme/campaigns/acquisition").json()) == 3
    assert caller.vibes("GET", f"{LISTS}77").status_code == 404
    assert caller.vibes("GET", "/companies/acme/campaigns/acquisition/NOPE").status_code == 404
    other = ("globex-user", "globex-password")
    assert caller.vibes("GET", "/companies/globex/campaigns/acquisition", auth=other).status_code == 404


def test_asking_somebody_new_is_pending_and_asking_again_is_already_pending(caller: Caller) -> None:
    """201 PENDING with an expire date, then 200 with the same one, and a single question on the phone."""
    first, second = caller.ask(external_person_id="42"), caller.ask()
    assert (first.status_code, first.json()["status"]) == (201, "PENDING")
    assert second.status_code == 200
    assert second.json()["expire_date"] == first.json()["expire_date"]
    assert len(caller.texts()) == 1
    found = caller.vibes("GET", f"{NEWS}/participants", params={"mdn": PERSON}).json()
    assert [one["status"] for one in found] == ["PENDING"]
    assert caller.vibes("GET", f"{NEWS}/participants", params={"external_person_id": "42"}).json() == found
    assert caller.vibes("GET", f"{OFFERS}/participants", params={"mdn": PERSON}).json() == []
    assert caller.vibes("GET", f"{NEWS}/participants", params={"mdn": OTHER}).json() == []
    assert caller.vibes("GET", f"{NEWS}/participants").status_code == 400


def test_a_campaign_without_confirmation_subscribes_at_once(caller: Caller) -> None:
    """201 SUBSCRIBED and a welcome, then 409."""
    answer = caller.ask(campaign=RECEIPTS)
    assert (answer.status_code, answer.json()["status"]) == (201, "SUBSCRIBED")
    assert "welcome" in caller.texts()[0]
    assert caller.ask(campaign=RECEIPTS).status_code == 409


def test_refusals_of_a_participant_change_nothing(caller: Caller) -> None:
    """Block, landline, another person's id, unknown field, no phone: 422, and nobody is made or changed."""
    caller.load(
        blocks=[{"phone": PERSON, "campaign_id": "NEWS1201"}],
        phones=[{"phone": OTHER, "carrier": "landline"}],
        persons=[{"phone": "+12025550100", "external_person_id": "7"}],
    )
    assert "MDNHASCONFIRMATIONBLOCK" in caller.ask(external_person_id="9").text
    assert "landline" in caller.ask(OTHER).text
    assert "EXTERNALPERSONIDMISMATCH" in caller.ask(THIRD, external_person_id="7").text
    assert "custom_fields.shoe_size" in caller.ask(THIRD, custom_fields={"shoe_size": "9"}).text
    assert caller.vibes("POST", f"{NEWS}/participants", json={}).status_code == 422
    assert caller.vibes("POST", f"{NEWS}/participants", data=b"{nonsense").status_code == 422
    assert caller.ask(PERSON, campaign=OFFERS).status_code == 201
    for number in (OTHER, THIRD):
        assert caller.vibes("GET", f"{DB}/persons", params={"mdn": number}).status_code == 404
    assert caller.vibes("GET", f"{DB}/persons", params={"mdn": PERSON}).json()["external_person_id"] is None


def test_numbers_abroad_are_not_on_a_provisioned_carrier(caller: Caller) -> None:
    """Vibes reaches the US and Canada only."""
    assert caller.ask("+447400123456").status_code == 422


def test_a_subscriber_is_found_by_each_identifier(caller: Caller) -> None:
    """The lookup gives one person object; unknown and not subscribed are the same 404."""
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201", "external_person_id": "42"}])
    found = caller.vibes("GET", f"{LISTS}1201/subscribers", params={"mdn": PERSON}).json()
    assert found["mobile_phone"]["mdn"] == PERSON
    for name, value in (("person_key", found["person_key"]), ("external_person_id", "42")):
        assert caller.vibes("GET", f"{LISTS}1201/subscribers", params={name: value}).json() == found
    assert caller.vibes("GET", f"{LISTS}1202/subscribers", params={"mdn": PERSON}).status_code == 404
    assert caller.vibes("GET", f"{LISTS}1201/subscribers", params={"mdn": OTHER}).status_code == 404
    assert caller.vibes("GET", f"{LISTS}1201/subscribers").status_code == 400


def test_leaving_and_joining_again_makes_two_records(caller: Caller) -> None:
    """204, then 404 for good; each opt-in has a record of its own."""
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1203", "external_person_id": "a/b"}])
    person = f"{DB}/persons/external/{quote('a/b', safe='')}"
    assert caller.vibes("DELETE", f"{person}/subscriptions/1203").status_code == 204
    assert caller.vibes("DELETE", f"{person}/subscriptions/1203").status_code == 404
    assert caller.vibes("DELETE", f"{DB}/persons/nobody/subscriptions/1203").status_code == 404
    assert caller.ask(campaign=RECEIPTS).status_code == 201
    records = caller.vibes("GET", f"{person}/subscriptions").json()
    assert [one.get("opt_out_reason") for one in records] == ["api_opt_out", None]
    key = caller.vibes("GET", person).json()["person_key"]
    active = caller.vibes("GET", f"{DB}/persons/{key}/subscriptions", params={"active_only": "true"}).json()
    assert active == records[1:]
    assert caller.vibes("GET", f"{DB}/persons/{key}/subscriptions/1203").json() == active
    assert caller.vibes("GET", f"{DB}/persons/{key}/subscriptions/1201").status_code == 404
    assert [one["reason"] for one in caller.effects("unsubscribed")] == ["api_opt_out"]


def test_persons_are_created_updated_and_never_given_another_number(caller: Caller) -> None:
    """POST 201 then 200, 409 for another id; PUT keeps what is omitted and refuses to change a number."""
    body = {
        "mobile_phone": {"mdn": PERSON},
        "external_person_id": "1",
        "custom_fields": {"first_name": "Ada"},
    }
    created = caller.vibes("POST", f"{DB}/persons/", json=body)
    assert created.status_code == 201
    assert caller.vibes("POST", f"{DB}/persons", json={"mobile_phone": {"mdn": PERSON}}).status_code == 200
    assert caller.vibes("POST", f"{DB}/persons", json=body | {"external_person_id": "2"}).status_code == 409
    url = created.json()["url"]
    assert caller.vibes("PUT", url, json={"mobile_phone": {"mdn": OTHER}}).status_code == 409
    assert caller.vibes("PUT", url, json={"custom_fields": {}}).json()["custom_fields"] == {
        "first_name": "Ada"
    }
    assert (
        caller.vibes("PUT", url, json={"custom_fields": {"first_name": None}}).json()["custom_fields"] == {}
    )
    assert "mobile_phone" not in caller.vibes("PUT", url, json={"mobile_phone": {"mdn": None}}).json()
    again = caller.vibes("PUT", f"{DB}/persons/external/5", json={"mobile_phone": {"mdn": PERSON}})
    assert (again.status_code, again.json()["external_person_id"]) == (201, "5")


def test_moods_vary_shapes_that_clients_must_bear(make_caller: Any) -> None:
    """Unknown fields, ids as numbers, dates without seconds or with an offset, arrays for objects."""
    caller = make_caller(moods=True, opt_in_window_seconds=86400)
    numbers = [f"+1202555{line:04d}" for line in range(100, 120)]
    asked = [caller.ask(number).json() for number in numbers]
    assert {type(one["person"]["person_id"]) for one in asked} == {int, str}
    assert {len(one["expire_date"]) for one in asked} == {
        len("2026-01-02T03:04Z"),
        len("2026-01-02T03:04:05Z"),
    }
    assert any("added_by_vendor_later" in one for one in asked)
    found = [caller.vibes("GET", f"{DB}/persons", params={"mdn": number}).json() for number in numbers]
    assert {type(one) for one in found} == {dict, list}


def test_source_codes_show_the_one_that_texts_come_from(caller: Caller) -> None:
    """The active lease of the short code."""
    assert [one["sourcecode"] for one in caller.vibes("GET", "/companies/acme/sourcecodes").json()] == [
        "52623"
    ]


def test_each_ring_has_a_limit_of_its_own(make_caller: Any) -> None:
    """Past the limit of any sliding second: 429 without Retry-After; other rings go on."""
    caller = make_caller(vibes_events_per_second=6, vibes_others_per_second=3)
    answers = [caller.vibes("GET", LISTS) for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
    assert "Retry-After" not in answers[-1].headers
    assert [caller.send().status_code for _ in range(7)] == [202] * 6 + [429]
    rings = caller.panel("GET", "stats")["rings"]
    assert rings["vibes acme others"]["highest_in_any_window"] == 5
    assert rings["vibes acme others"]["turned_away"] == 2
    assert rings["vibes acme events"]["arrived"] == 7
