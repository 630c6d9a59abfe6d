"""Every answer of Vibes about one person gets its class: facts A.2 to A.5."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import InvalidInput
from tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    cut,
    envelope,
    hang,
    reset,
)

MDN = "+12025550132"
OK, ALREADY, REFUSED, RETRY = AnswerClass.OK, AnswerClass.ALREADY, AnswerClass.REFUSED, AnswerClass.RETRY
BUG, CONFIG, IN_DOUBT = AnswerClass.BUG, AnswerClass.CONFIG, AnswerClass.IN_DOUBT
Play = Callable[..., VibesClient]

PENDING = {
    "person": {"person_id": 111, "person_key": "aaaa-bbbb", "url": "/x"},
    "participation_date": "2026-01-02T03:04Z",
    "expire_date": "2026-01-03T03:04Z",
    "status": "PENDING",
    "new_field": {"of": "tomorrow"},
}
PERSON = {
    "person_key": "aaaa-bbbb",
    "external_person_id": 42,
    "mobile_phone": {"mdn": MDN, "carrier_code": "103"},
    "custom_fields": {"a": None},
}


def add(client: VibesClient) -> Answer:
    return client.add_participant("ACQ1", mdn=MDN, external_person_id="42")


def find(client: VibesClient) -> Answer:
    return client.find_subscriber("12", mdn=MDN)


def leave(client: VibesClient) -> Answer:
    return client.unsubscribe("12", person_key="aaaa-bbbb")


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(201, PENDING), OK, "pending"),
        (answer(201, {**PENDING, "status": "Subscribed"}), OK, "subscribed"),
        (answer(200, PENDING), ALREADY, "pending"),
        (answer(409), ALREADY, "subscribed"),
        (answer(409, envelope("Already subscribed")), ALREADY, "subscribed"),
        (answer(400, envelope("mdn")), REFUSED, "bad_number"),
        (answer(422, envelope("MDNHASCONFIRMATIONBLOCK")), REFUSED, "confirmation_block"),
        (
            answer(422, envelope("Unprocessable entity", "mdnHasConfirmationBlock")),
            REFUSED,
            "confirmation_block",
        ),
        (
            answer(422, {"errors": [{"message": "x", "code": "EXTERNALPERSONIDMISMATCH"}]}),
            REFUSED,
            "id_conflict",
        ),
        (answer(422, b"landline numbers cannot"), REFUSED, "carrier"),
        (answer(422, envelope("not on a provisioned carrier")), REFUSED, "carrier"),
        (answer(422, envelope("unknown custom field colour")), CONFIG, "unknown_custom_field"),
        (answer(422, envelope("UNPROCESSABLE ENTITY")), REFUSED, "unprocessable"),
        (answer(422), REFUSED, "unprocessable"),
        (cut(422, b'{"errors": [{"message": "MDNHAS"}]}', 30), RETRY, "unreadable"),
        (answer(404, envelope("no campaign")), CONFIG, "not_found"),
        (answer(404, b"<html>404</html>"), RETRY, "foreign_404"),
        (answer(201), IN_DOUBT, "unreadable"),
        (answer(201, b"{"), IN_DOUBT, "unreadable"),
        (answer(201, {**PENDING, "status": "PONDERING"}), IN_DOUBT, "unreadable"),
        (answer(201, {**PENDING, "expire_date": "tomorrow"}), IN_DOUBT, "unreadable"),
        (cut(201, b'{"status": "PENDING"}', 5), IN_DOUBT, "unreadable"),
        (answer(500), IN_DOUBT, "server_error"),
        (answer(503, envelope("down")), RETRY, "unavailable"),
        (answer(429), RETRY, "rate_limited"),
        (answer(401), CONFIG, "credentials"),
        (answer(418), BUG, "unexpected_status"),
        (reset, IN_DOUBT, "no_answer"),
        (hang(1.0), IN_DOUBT, "no_answer"),
    ],
)
def test_an_answer_to_a_new_participant_means_what_the_facts_say(
    play: Play, server: ScriptedServer, step: Step, kind: AnswerClass, reason: str
) -> None:
    """Facts A.2; a lost answer is in doubt, for the person may have been asked."""
    got = add(play(step))
    assert (got.kind, got.reason) == (kind, reason)
    assert len(server.requests) == 1
    assert "42" not in repr(got.value)


def test_a_participation_carries_its_dates_in_utc(play: Play) -> None:
    """The confirm window ends at `expire_date`, not after a constant."""
    participation = add(play(answer(201, PENDING))).value
    assert participation.expire_date == datetime(2026, 1, 3, 3, 4, tzinfo=UTC)
    assert (participation.person_key, participation.person_id) == ("aaaa-bbbb", "111")


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(200, PERSON), OK, "subscribed"),
        (answer(200, [PERSON]), OK, "subscribed"),
        (answer(200, {"person_key": 7}), OK, "subscribed"),
        (answer(404, envelope("Subscriber not found")), OK, "not_subscribed"),
        (answer(404), OK, "not_subscribed"),
        (answer(200, []), OK, "not_subscribed"),
        (answer(404, b"<html>404</html>"), RETRY, "foreign_404"),
        (answer(404, b"404 page not found"), RETRY, "foreign_404"),
        (cut(404, b'{"errors": [{"message": "x"}]}', 3), RETRY, "foreign_404"),
        (answer(200), RETRY, "unreadable"),
        (answer(200, {}), RETRY, "unreadable"),
        (answer(200, b"<html>"), RETRY, "unreadable"),
        (answer(200, b"\xff\xfe"), RETRY, "unreadable"),
        (answer(200, b"[" * 100_000), RETRY, "unreadable"),
        (cut(200, b'{"person_key": "aaaa"}', 4), RETRY, "unreadable"),
        (answer(200, {**PERSON, "mobile_phone": {"mdn": "+12025550199"}}), BUG, "another_person"),
        (answer(400, envelope("invalid mdn")), REFUSED, "bad_number"),
        (answer(400, envelope("countryNotSupported")), BUG, "not_e164"),
        (answer(500), RETRY, "server_error"),
        (answer(503), RETRY, "server_error"),
        (answer(429), RETRY, "rate_limited"),
        (answer(401), CONFIG, "credentials"),
        (reset, RETRY, "no_answer"),
        (hang(1.0), RETRY, "no_answer"),
    ],
)
def test_a_lookup_says_on_the_list_or_not_or_nothing_at_all(
    play: Play, step: Step, kind: AnswerClass, reason: str
) -> None:
    """Facts A.3: 404 is a normal "no" when the vendor says it; a gateway's page decides nothing."""
    got = find(play(step))
    assert (got.kind, got.reason) == (kind, reason)
    assert (got.value is not None) == (reason == "subscribed")


def test_a_person_found_carries_its_ids_as_text_and_shows_none_of_them(play: Play) -> None:
    """Ids come as text or number; a person's repr names nobody."""
    person = find(play(answer(200, PERSON))).value
    assert (person.person_key, person.external_person_id, person.mdn) == ("aaaa-bbbb", "42", MDN)
    assert repr(person) == "Person()"


def test_a_lookup_wants_exactly_one_identifier(vibes: VibesClient) -> None:
    """None or two of them are a mistake of ours, said before anything is asked."""
    with pytest.raises(InvalidInput):
        vibes.find_subscriber("12")
    with pytest.raises(InvalidInput):
        vibes.unsubscribe("12", person_key="a", external_person_id="b")


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(200, PERSON), OK, "found"),
        (answer(200, [PERSON]), OK, "found"),
        (answer(404, envelope("no")), OK, "not_found"),
        (answer(400, envelope("bad")), REFUSED, "bad_number"),
        (answer(200, [PERSON, PERSON]), RETRY, "unreadable"),
    ],
)
def test_a_person_is_found_by_number(play: Play, step: Step, kind: AnswerClass, reason: str) -> None:
    """One object or an array of one: the sources disagree, so both are read (facts A.4)."""
    got = play(step).find_person(mdn=MDN)
    assert (got.kind, got.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(204), OK, "unsubscribed"),
        (answer(200), OK, "unsubscribed"),
        (answer(404, envelope("no")), ALREADY, "not_subscribed"),
        (answer(404), ALREADY, "not_subscribed"),
        (answer(404, b"<html>404</html>"), RETRY, "foreign_404"),
        (answer(500), RETRY, "server_error"),
        (answer(422), REFUSED, "unprocessable"),
        (answer(401), CONFIG, "credentials"),
        (answer(400), BUG, "unexpected_status"),
        (reset, RETRY, "no_answer"),
        (hang(1.0), RETRY, "no_answer"),
    ],
)
def test_leaving_a_list_is_harmless_to_repeat(play: Play, step: Step, kind: AnswerClass, reason: str) -> None:
    """Facts A.5: gone already is done; a lost answer is asked again."""
    got = leave(play(step))
    assert (got.kind, got.reason) == (kind, reason)


def test_subscriptions_are_read_in_every_date_shape(play: Play) -> None:
    """Three shapes of dates, ids as text or number, unknown reasons (facts A.0, A.5)."""
    records = [
        {"subscription_list": {"id": 12}, "opt_in_date": "2017-01-14T14:30Z", "opt_out_date": None},
        {
            "subscription_list": {"id": "13"},
            "opt_in_date": "2017-03-15T15:42:23+00:00",
            "opt_out_date": "2017-03-16T10:42:23-05:00",
            "opt_out_reason": "new_reason",
        },
    ]
    first, second = play(answer(200, records)).get_subscriptions("aaaa-bbbb").value
    assert (first.list_id, first.opt_in_date) == ("12", datetime(2017, 1, 14, 14, 30, tzinfo=UTC))
    assert first.opt_out_date is None
    assert second.opt_out_date == datetime(2017, 3, 16, 15, 42, 23, tzinfo=UTC)
    assert second.opt_out_reason == "new_reason"


@pytest.mark.parametrize("date_text", ["soon", 20170314, {"at": 1}])
def test_an_opt_out_date_that_cannot_be_read_is_never_taken_for_none(play: Play, date_text: object) -> None:
    """Somebody who left would else count as a subscriber."""
    record = {"subscription_list": {"id": 12}, "opt_in_date": None, "opt_out_date": date_text}
    got = play(answer(200, [record])).get_subscriptions("aaaa-bbbb")
    assert (got.kind, got.reason) == (RETRY, "unreadable")


def test_an_unknown_person_has_no_subscriptions(play: Play) -> None:
    """404 is the vendor's "unknown person"."""
    got = play(answer(404, envelope("no"))).get_subscriptions("aaaa-bbbb", active_only=True)
    assert (got.kind, got.reason, got.value) == (OK, "not_found", ())


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(200, [PENDING]), OK, "pending"),
        (answer(200, []), OK, "not_pending"),
        (answer(200, [{**PENDING, "status": "EXPIRED"}]), OK, "not_pending"),
        (answer(404, envelope("no campaign")), CONFIG, "not_found"),
        (answer(400, envelope("mdn")), REFUSED, "bad_number"),
        (answer(200, {"items": []}), RETRY, "unreadable"),
        (answer(500), RETRY, "server_error"),
    ],
)
def test_a_pending_opt_in_is_found(play: Play, step: Step, kind: AnswerClass, reason: str) -> None:
    """Facts A.2: an empty array means that nothing is pending any more."""
    got = play(step).find_pending("ACQ1", mdn=MDN)
    assert (got.kind, got.reason, got.value is not None) == (kind, reason, reason == "pending")


def test_identifiers_cannot_leave_their_place_in_a_path_or_query(play: Play, server: ScriptedServer) -> None:
    """A plus travels as %2B, a slash in an id as %2F; every call says version 2 and JSON."""
    client = play(answer(404), answer(404))
    find(client)
    client.unsubscribe("1 2", external_person_id="a/../b?c#d+é")
    lookup, delete = server.requests
    assert lookup.target == "/companies/ACME/mobiledb/subscription_lists/12/subscribers?mdn=%2B12025550132"
    assert delete.path == (
        "/companies/ACME/mobiledb/persons/external/a%2F..%2Fb%3Fc%23d%2B%C3%A9/subscriptions/1%202"
    )
    for request in server.requests:
        assert request.headers["x-api-version"] == "2"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"].startswith("Basic ")
        assert "x-sms-flow-target" not in request.headers


@pytest.mark.parametrize("external_person_id", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_refused(vibes: VibesClient, external_person_id: str) -> None:
    """Dots alone would climb to another address even when quoted."""
    with pytest.raises(InvalidInput):
        vibes.unsubscribe("12", external_person_id=external_person_id)
