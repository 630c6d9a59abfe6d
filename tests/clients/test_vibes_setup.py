"""Lists, campaigns, settings: asked once per task, repeated within bounds, raised with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from airflow_sms_flow.clients.vibes import SubscriptionFilter, VibesClient
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Stopped, Unavailable
from tests.clients.scripted_server import (
    ScriptedServer,
    Sleeps,
    Step,
    answer,
    envelope,
    reset,
)

OK, ALREADY, RETRY = AnswerClass.OK, AnswerClass.ALREADY, AnswerClass.RETRY
CONFIG, IN_DOUBT = AnswerClass.CONFIG, AnswerClass.IN_DOUBT
Play = Callable[..., VibesClient]


def test_setup_repeats_passing_faults_and_then_gives_the_value(
    play: Play, server: ScriptedServer, sleeps: Sleeps
) -> None:
    """Lists and campaigns are read once per task: a blip is not worth a failed task."""
    client = play(answer(500), reset, answer(429), answer(200, {"id": 12, "name": "Offers", "x": 1}))
    found = client.get_subscription_list("12")
    assert (found.id, found.name) == ("12", "Offers")
    assert len(server.requests) == 4
    assert 0 < sleeps.total < 1


def test_setup_gives_up_after_a_bounded_number_of_tries(make_vibes: Play) -> None:
    """Past its patience it says which call failed, and Airflow's retry takes over."""
    with ScriptedServer(forever=answer(500)) as server:
        with pytest.raises(Unavailable, match=r"subscription_lists/ answered 500"):
            make_vibes(server.url).list_subscription_lists()
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (answer(404, envelope("x")), ConfigError, "list_id='12'"),
        (answer(401), ConfigError, "login"),
        (answer(403), ConfigError, "company_key"),
        (answer(302, headers={"Location": "https://x"}), ConfigError, "host"),
        (answer(405), BugError, "405"),
    ],
)
def test_setup_says_what_to_change(play: Play, step: Step, error: type[Exception], words: str) -> None:
    """What no repeat can mend is raised at once, with the remedy."""
    with pytest.raises(error, match=words):
        play(step).get_subscription_list("12")


def test_setup_stops_between_repeats(make_vibes: Play) -> None:
    """A task that is told to stop does not wait for a vendor that is down."""
    with ScriptedServer(forever=answer(500)) as server:
        stopping = make_vibes(server.url, stop=lambda: len(server.requests) >= 1)
        with pytest.raises(Stopped):
            stopping.list_subscription_lists()
        assert len(server.requests) == 1


def test_acquisition_campaigns_are_read(play: Play) -> None:
    """`description` is the name, status in any case; a list without campaigns may answer 404."""
    campaign = {"acquisition_id": "ACQ1", "description": "Welcome", "status": "Active"}
    client = play(answer(200, [campaign]), answer(200, campaign), answer(404), answer(404))
    (of_list,) = client.list_acquisition_campaigns_of("12")
    assert (of_list.id, of_list.name, of_list.status) == ("ACQ1", "Welcome", "active")
    assert client.get_acquisition_campaign("ACQ1") == of_list
    assert client.list_acquisition_campaigns_of("12") == ()
    with pytest.raises(ConfigError, match="acquisition_campaign_id='ACQ2'"):
        client.get_acquisition_campaign("ACQ2")


def campaign_of(**changes: object) -> dict[str, object]:
    return {
        "event_triggered_message_id": "7",
        "name": "Offers",
        "event_type": "Spring_Offer",
        "status": "In_Progress",
        "targeting": {
            "message_template": "{{ ev.message_body }}",
            "channel": "sms",
            "filters": [
                {"name": "subscription", "selector": "any", "value": [12, "13"]},
                {"name": "birthday", "transform": "month", "selector": "any", "value": ["5"]},
            ],
        },
        **changes,
    }


def test_event_campaigns_are_read_with_their_filters(play: Play, server: ScriptedServer) -> None:
    """The subscription filter is what keeps texts from people off the list: read to the letter."""
    client = play(answer(200, [campaign_of(), campaign_of(event_type="other")]))
    (found,) = client.list_event_campaigns(event_type="spring_offer", status="in_progress")
    assert (found.id, found.status, found.channel) == (7, "in_progress", "sms")
    assert found.message_template == "{{ ev.message_body }}"
    assert found.subscription_filters == (SubscriptionFilter("any", ("12", "13")),)
    assert found.other_filters == ("birthday",)
    assert server.requests[0].query == {"event_type": "spring_offer", "status": "in_progress"}


def test_a_subscription_filter_that_cannot_be_read_is_not_passed_over(make_vibes: Play) -> None:
    """A filter on nothing we understand might let anybody through."""
    odd = campaign_of(targeting={"filters": [{"name": "subscription", "selector": "any", "value": [{}]}]})
    with ScriptedServer(forever=answer(200, [odd])) as server, pytest.raises(Unavailable):
        make_vibes(server.url).list_event_campaigns()


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(202, campaign_of()), OK, "created"),
        (answer(202), OK, "created"),
        (answer(202, b"<html>"), IN_DOUBT, "unreadable"),
        (answer(422, envelope("sourcecode")), CONFIG, "refused"),
        (answer(409), ALREADY, "exists"),
        (answer(500), IN_DOUBT, "server_error"),
        (answer(429), RETRY, "rate_limited"),
        (reset, IN_DOUBT, "no_answer"),
    ],
)
def test_creating_a_campaign_is_tried_once(
    play: Play, server: ScriptedServer, step: Step, kind: AnswerClass, reason: str
) -> None:
    """After a lost answer the caller looks before it repeats."""
    got = create(play(step))
    assert (got.kind, got.reason) == (kind, reason)
    assert len(server.requests) == 1


def create(client: VibesClient, event_type: str = "list_12") -> Answer:
    return client.create_event_campaign(
        name="Offers",
        event_type=event_type,
        message_template="{{ ev.message_body }}",
        list_id="12",
        source_code="52623",
        start_date=date(2026, 1, 2),
    )


def test_a_new_campaign_reaches_members_of_its_list_only(play: Play, server: ScriptedServer) -> None:
    """The filter names the list as a number, as the vendor wants it (facts A.7)."""
    create(play(answer(202)))
    body = server.requests[0].json()
    assert body["targeting"]["filters"] == [{"name": "subscription", "selector": "any", "value": [12]}]
    assert body["start_date"] == "2026-01-02"


def test_an_event_type_that_vibes_would_not_match_is_refused(vibes: VibesClient) -> None:
    """Letters, digits, dash and underscore (facts A.6)."""
    with pytest.raises(InvalidInput, match="event_type"):
        create(vibes, event_type="list 12")


def test_source_codes_are_read(play: Play) -> None:
    """The codes that texts may come from."""
    code = {"sourcecode": 52623, "country_code": "1", "sourcecode_type": "SC", "sms_enabled": True}
    (found,) = play(answer(200, [code])).list_source_codes()
    assert (found.code, found.country_code, found.code_type, found.sms_enabled) == ("52623", "1", "SC", True)


def test_the_test_button_answers_in_a_sentence(play: Play, server: ScriptedServer) -> None:
    """One call, no repeats: somebody is waiting in front of a form."""
    client = play(answer(200, [{"id": "12", "name": "Offers"}]), answer(500))
    assert client.check() == "Vibes answers; the account has 1 subscription list(s)"
    with pytest.raises(Unavailable):
        client.check()
    assert len(server.requests) == 2


def test_a_host_may_have_a_trailing_slash_and_a_prefix(make_vibes: Play) -> None:
    """The EU address ends in a slash in the vendor's spec; a gateway may put a path before ours."""
    with ScriptedServer(forever=answer(200, [])) as server:
        for host in (server.url + "/", server.url + "/gate/way/"):
            make_vibes(host).list_subscription_lists()
        assert [request.path for request in server.requests] == [
            "/companies/ACME/mobiledb/subscription_lists/",
            "/gate/way/companies/ACME/mobiledb/subscription_lists/",
        ]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"host": "public-api.vibescm.com"}, "host"),
        ({"host": "ftp://public-api.vibescm.com"}, "host"),
        ({"host": "https://user:sw0rdfish@vibes.example"}, "host"),
        ({"host": "https://vibes.example/?key=sw0rdfish"}, "host"),
        ({"host": "https://:99999"}, "host"),
        ({"company_key": " "}, "company_key"),
        ({"username": ""}, "login"),
        ({"password": ""}, "login"),
    ],
)
def test_an_unusable_setting_is_refused_without_showing_it(
    make_vibes: Play, settings: dict[str, str], field: str
) -> None:
    """Field and remedy, but no address that might hold a secret."""
    with pytest.raises(InvalidInput, match=field) as caught:
        make_vibes(**({"host": "http://127.0.0.1:1"} | settings))
    assert "sw0rdfish" not in str(caught.value)
