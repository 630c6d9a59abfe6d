"""Vibes' stand-in: what its callbacks tell, type by type, in the vendor's shapes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.sandbox.callback_receiver import Heard, Receiver
from tests.sandbox.conftest import MakeCaller
from tests.sandbox.sandbox_caller import DB, NEWS, OTHER, PERSON, THIRD, Caller

SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MINUTES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ")


@pytest.fixture
def hearing(make_caller: MakeCaller, receiver: Receiver) -> Caller:
    """Every type of callback about list 1201 goes to the receiver, in order."""
    caller = make_caller(
        callback_delay_seconds=0.0, callback_connections=1, answer_seconds=60.0, opt_in_window_seconds=7200.0
    )
    caller.register_all(receiver.url())
    return caller


def kinds(heard: list[Heard]) -> list[str]:
    """The types, by the name that is never wrong."""
    return [one.json["event_type"] for one in heard]


def test_who_says_yes_is_told_from_question_to_list(hearing: Caller, receiver: Receiver) -> None:
    """Asked, confirmed, subscribed; the changed payload mislabels itself as the vendor's own sample does."""
    hearing.load(phones=[{"phone": PERSON, "behaviour": "Y"}])
    hearing.ask(external_person_id="42")
    hearing.advance(61)
    asked, answered, joined = receiver.wait_for(3)
    assert kinds(receiver.heard) == [
        "ack_participant_added",
        "ack_participant_changed",
        "subscription_added",
    ]
    assert [one.json["callback_type"] for one in receiver.heard] == [
        "ack_participant_added",
        "ack_participant_added",
        "subscription_added",
    ]
    statuses = [one.json["participant"]["status"] for one in (asked, answered)]
    assert statuses == ["PENDING", "CONFIRMED"]
    assert len({one.json["event_id"] for one in receiver.heard}) == 3
    assert all(SECONDS.fullmatch(one.json["event_date"]) for one in receiver.heard)
    participant = asked.json["participant"]
    assert participant["person"]["mobile_phone"] == {"mdn": PERSON}
    assert participant["person"]["external_id"] == "42"
    assert participant["acquisition_campaign"]["url"].endswith("/campaigns/acquisition/NEWS1201")
    assert participant["acquisition_campaign"]["id"] != "NEWS1201"
    subscription = joined.json["subscription"]
    assert subscription["subscription_list"]["id"] == "1201"
    assert subscription["person"]["external_person_id"] == subscription["person"]["external_id"] == "42"
    assert (joined.path, joined.method) == ("/hear?tenant=acme", "POST")
    assert joined.content_type == "application/json"


def test_a_no_is_told_and_an_expiry_is_not(hearing: Caller, receiver: Receiver) -> None:
    """REJECTED for No and for STOP; whoever stays silent until the end is not mentioned again."""
    hearing.load(phones=[{"phone": one, "behaviour": "silence"} for one in (PERSON, OTHER, THIRD)])
    for number in (PERSON, OTHER, THIRD):
        hearing.ask(number)
    hearing.panel("POST", "reply", json={"phone": PERSON, "text": "no"})
    hearing.panel("POST", "reply", json={"phone": OTHER, "text": "Stop"})
    hearing.advance(7300)
    hearing.until_settled()
    changed = [one.json["participant"] for one in receiver.heard if "changed" in one.json["event_type"]]
    assert [(one["person"]["mobile_phone"]["mdn"], one["status"]) for one in changed] == [
        (PERSON, "REJECTED"),
        (OTHER, "REJECTED"),
    ]
    assert len(receiver.heard) == 5


def test_joining_without_a_question_is_told_by_the_subscription_alone(
    hearing: Caller, receiver: Receiver
) -> None:
    """A list without confirmation knows no participants."""
    hearing.register(
        "ack_participant_added", receiver.url(), ack_participant_added={"campaign_id": "RCPT1203"}
    )
    hearing.register("subscription_added", receiver.url(), subscription_added={"list_id": "1203"})
    hearing.ask(campaign=NEWS.replace("NEWS1201", "RCPT1203"))
    hearing.until_settled()
    assert kinds(receiver.heard) == ["subscription_added"]


@pytest.mark.parametrize("by", ["keyword_opt_out", "api_opt_out"])
def test_leaving_is_told_with_its_reason(hearing: Caller, receiver: Receiver, by: str) -> None:
    """By STOP or by the API, with both dates."""
    hearing.load(subscriptions=[{"phone": PERSON, "list_id": "1201", "external_person_id": "42"}])
    if by == "keyword_opt_out":
        hearing.panel("POST", "reply", json={"phone": PERSON, "text": "STOP"})
    else:
        hearing.vibes("DELETE", f"{DB}/persons/external/42/subscriptions/1201")
    (left,) = receiver.wait_for(1)
    subscription = left.json["subscription"]
    assert (left.json["event_type"], subscription["opt_out_reason"]) == ("subscription_removed", by)
    assert SECONDS.fullmatch(subscription["opt_in_date"])
    assert SECONDS.fullmatch(subscription["opt_out_date"])


def test_only_what_was_registered_for_is_told(hearing: Caller, receiver: Receiver) -> None:
    """Another list's members, and people put in quietly, are not; an import is."""
    hearing.load(
        subscriptions=[
            {"phone": PERSON, "list_id": "1201"},
            {"phone": PERSON, "list_id": "1202", "announced": True},
            {"phone": OTHER, "list_id": "1201", "announced": True},
        ]
    )
    hearing.until_settled()
    (told,) = receiver.heard
    assert told.json["subscription"]["person"]["mobile_phone"]["mdn"] == OTHER


def test_the_version_at_registration_decides_how_numbers_look(caller: Caller, receiver: Receiver) -> None:
    """Version 2 is E.164; version 1, which is also no version at all, ten digits. PUT does not change it."""
    for path, version in (("/2", "2"), ("/1", "1"), ("/none", "")):
        answer = caller.register("subscription_added", receiver.url(path), version=version)
        caller.vibes("PUT", answer.json()["url"], json={"destination": {"url": receiver.url(path)}})
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201", "announced": True}])
    heard = {one.path: one.json for one in receiver.wait_for(3)}
    numbers = {path: one["subscription"]["person"]["mobile_phone"]["mdn"] for path, one in heard.items()}
    assert numbers == {"/2": PERSON, "/1": "2025550132", "/none": "2025550132"}
    assert len({one["event_id"] for one in heard.values()}) == 1


def test_a_text_nobody_understands_is_told_and_stop_and_help_are_not(
    hearing: Caller, receiver: Receiver
) -> None:
    """Its text, the number and our code; system keywords never come this way."""
    for text in ("HELP", "stop", 'Who is "this"? ☎'):
        hearing.panel("POST", "reply", json={"phone": PERSON, "text": text})
    hearing.until_settled()
    (heard,) = receiver.heard
    assert heard.json["participant"]["mdn"] == PERSON
    assert heard.json["message"] == 'Who is "this"? ☎'
    assert (heard.json["source_code"]["code"], heard.json["source_code"]["company_key"]) == ("52623", "acme")
    assert heard.json["receipt_date"].endswith("+00:00")


def test_an_unmatched_message_can_be_as_broken_as_the_vendors_sample(
    make_caller: MakeCaller, receiver: Receiver
) -> None:
    """The quote after mdn is missing: no JSON, and no reason to lose it."""
    caller = make_caller(callback_broken_json=True)
    caller.register_all(receiver.url())
    caller.panel("POST", "reply", json={"phone": PERSON, "text": "What?"})
    (heard,) = receiver.wait_for(1)
    with pytest.raises(ValueError, match="delimiter"):
        _ = heard.json
    assert f'"mdn": "{PERSON}, '.encode() in heard.body


def send_to_everybody(caller: Caller, **body: Any) -> None:
    """A campaign of list 1201, and one event to each of three."""
    caller.create_campaign()
    caller.advance(5)
    for number in (PERSON, OTHER, THIRD):
        caller.send(number, event_id=f"E{number}", **body)
    for _ in range(4):
        caller.advance(2)


def stages(receiver: Receiver, number: str) -> list[tuple[str, str, str]]:
    """The actions told about the event to a number."""
    told = [one for one in receiver.heard if one.json["event_type"] == "event_processed"]
    return [one.action for one in told if one.json["event_processed"]["event_id"] == f"E{number}"]


def test_an_event_is_told_from_routing_to_the_phone(hearing: Caller, receiver: Receiver) -> None:
    """Four stages where all is well; one where the person is not on the list, or unknown."""
    hearing.load(subscriptions=[{"phone": PERSON, "list_id": "1201"}], persons=[{"phone": OTHER}])
    send_to_everybody(hearing, debug_data={"run": "7"})
    hearing.until_settled()
    assert stages(receiver, PERSON) == [
        ("routing", "processing", "accepted_by_event_triggered_message"),
        ("processing", "success", "queued"),
        ("carrier_dlr", "success", "delivered_to_carrier"),
        ("handset_dlr", "success", "delivered"),
    ]
    assert stages(receiver, OTHER) == [("routing", "failed", "person_not_in_subscription_list")]
    assert stages(receiver, THIRD) == [("routing", "failed", "person_not_found")]
    first = receiver.heard[0].json
    inner = first["event_processed"]
    assert first["event_id"] != inner["event_id"]
    assert inner["event_data"]["mdn"] == PERSON
    assert inner["debug_data"] == {"run": "7"}
    assert inner["action"]["resource_url"].endswith("/mobiledb/event_triggered_messages/5001")


def test_other_refusals_are_told_with_their_reason(hearing: Caller, receiver: Receiver) -> None:
    """No campaign for the type, a landline, an error of the vendor's own."""
    hearing.send(event_id=f"E{THIRD}")
    hearing.advance(1)
    people = [{"phone": one, "list_id": "1201"} for one in (PERSON, OTHER)]
    hearing.load(subscriptions=people, phones=[{"phone": PERSON, "carrier": "landline"}])
    hearing.panel("POST", "settings", json={"share_unexpected_errors": 1.0})
    send_to_everybody(hearing)
    hearing.until_settled()
    assert stages(receiver, THIRD)[0] == ("routing", "failed", "no_route_rules")
    assert stages(receiver, PERSON) == [("routing", "failed", "carrier_not_supported")]
    assert stages(receiver, OTHER)[1:] == [("processing", "failed", "unexpected_error")]
    assert hearing.texts(OTHER) == []


@pytest.mark.parametrize(
    ("setting", "reasons"),
    [
        ("share_bounced_hard", {"number_disconnected", "unknown_subscriber"}),
        ("share_bounced_soft", {"handset_unreachable", "carrier_temporarily_unavailable"}),
    ],
)
def test_a_bounced_text_is_told_and_reaches_no_phone(
    hearing: Caller, receiver: Receiver, setting: str, reasons: set[str]
) -> None:
    """Some by the carrier, some by the phone; a disconnected number leaves its lists."""
    numbers = [f"+120255501{n:02d}" for n in range(10, 30)]
    hearing.load(subscriptions=[{"phone": one, "list_id": "1201"} for one in numbers])
    hearing.panel("POST", "settings", json={setting: 1.0})
    hearing.create_campaign()
    hearing.advance(5)
    for number in numbers:
        hearing.send(number, event_id=f"E{number}")
    for _ in range(4):
        hearing.advance(2)
    hearing.until_settled()
    last = {number: stages(receiver, number)[-1] for number in numbers}
    assert {reason for _, _, reason in last.values()} == reasons
    assert {status for _, status, _ in last.values()} == {"failed"}
    assert all(
        (stage == "handset_dlr") == (reason == "handset_unreachable") for stage, _, reason in last.values()
    )
    assert all(hearing.texts(one) == [] for one in numbers)
    assert {one["bounce"] for one in hearing.effects("text_bounced")} == {setting.rpartition("_")[2]}
    gone = [one.json["subscription"] for one in receiver.heard if "removed" in one.json["event_type"]]
    disconnected = {number for number, (_, _, reason) in last.items() if reason == "number_disconnected"}
    assert {one["person"]["mobile_phone"]["mdn"] for one in gone} == disconnected
    assert {one["opt_out_reason"] for one in gone} <= {"disconnect"}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [("all", 6), ("only_failures", 2), ("routing", 3), ("carrier_dlr", 1), ("handset_dlr", 1)],
)
def test_only_the_wanted_stages_of_events_are_told(
    caller: Caller, receiver: Receiver, wanted: str, count: int
) -> None:
    """`callbacks_to_send`, and the event type whatever its case."""
    scope = {"event_type": "PROMO", "callbacks_to_send": wanted}
    caller.register("event_processed", receiver.url(), event_processed=scope)
    caller.register("event_processed", receiver.url("/other"), event_processed={"event_type": "other"})
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201"}])
    send_to_everybody(caller)
    caller.until_settled()
    assert len(receiver.heard) == count
    assert {one.path for one in receiver.heard} == {"/hear?tenant=acme"}


def test_a_share_of_phones_sends_no_receipt(make_caller: MakeCaller, receiver: Receiver) -> None:
    """The carrier's is then the last word."""
    caller = make_caller(share_handset_receipts=0.0)
    caller.register_all(receiver.url())
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201"}])
    send_to_everybody(caller)
    caller.until_settled()
    assert {stage for stage, _, _ in stages(receiver, PERSON)} == {"routing", "processing", "carrier_dlr"}


@pytest.mark.parametrize(
    ("setting", "kind"),
    [("share_stop", "subscription_removed"), ("share_unmatched", "unmatched_message_received")],
)
def test_people_answer_campaign_texts(
    make_caller: MakeCaller, receiver: Receiver, setting: str, kind: str
) -> None:
    """A share leaves, a share asks back, some time after the text."""
    caller = make_caller(**{setting: 1.0}, afterthought_seconds=30.0)
    caller.register_all(receiver.url())
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201"}])
    send_to_everybody(caller)
    caller.until_settled()
    assert kind not in kinds(receiver.heard)
    caller.advance(30)
    caller.until_settled()
    assert Counter(kinds(receiver.heard))[kind] == 1


def test_shapes_vary_with_the_moods(make_caller: MakeCaller, receiver: Receiver) -> None:
    """Ids as text or numbers, dates with seconds or without, an attempt counted as older callbacks do."""
    caller = make_caller(moods=True, opt_in_window_seconds=86400.0)
    caller.register_all(receiver.url())
    for number in (PERSON, OTHER):
        caller.ask(number)
    people = [one.json["participant"] for one in receiver.wait_for(2)]
    assert {type(one["person"]["id"]) for one in people} == {int, str}
    dates = [one["expire_date"] for one in people]
    assert sorted(bool(MINUTES.fullmatch(one)) for one in dates) == [False, True]
    assert sorted(bool(SECONDS.fullmatch(one)) for one in dates) == [False, True]
    assert receiver.heard[0].json["delivery_attempt"] == "1"
