"""Register Vibes Callbacks, against the sandbox and with the plugin's receiver on a real port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow.__main__ import main
from airflow_sms_flow.core.callback_tests import TEST_PHONE, is_test_callback
from airflow_sms_flow.core.errors import InvalidInput, Unavailable
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.operators import RegisterVibesCallbacksOperator
from tests.callback_door import open_door
from tests.operators.world import NEWS, World, airflow_connections
from tests.sandbox.sandbox_caller import CALLBACKS, wait_until

SECRET, OLDER = "the-newest-of-the-secrets", "the-secret-of-last-year"
ELSEWHERE = "https://other.example.com/hook/somebody-elses-secret"
CAMPAIGN = "NEWS1201"
NOWHERE = "http://127.0.0.1:9"


def register(**parameters: Any) -> RegisterVibesCallbacksOperator:
    """The operator with the usual parameters."""
    usual = {"task_id": "register", "lists": [NEWS], "callback_url": NOWHERE, "check_arrival": False}
    return RegisterVibesCallbacksOperator(**(usual | parameters))


@pytest.fixture
def hearing_world(empty_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Nobody anywhere; the Vibes connection has a secret for callbacks."""
    rotate(empty_world, monkeypatch, SECRET)
    return empty_world


@pytest.fixture
def door(hearing_world: World) -> Iterator[str]:
    """The receiver of that connection."""
    with open_door() as address:
        yield address


def rotate(world: World, monkeypatch: pytest.MonkeyPatch, secrets: str) -> None:
    """The connection's secrets from now on."""
    for name, one in airflow_connections(world.caller.sandbox.url, callback_secrets=secrets).items():
        monkeypatch.setenv(name, one)


def standing(world: World) -> list[tuple[str, str, str]]:
    """What Vibes has: type, subject, address."""
    found = world.caller.vibes("GET", CALLBACKS).json()
    return sorted((one["callback_type"], subject(one), one["destination"]["url"]) for one in found)


def subject(one: Mapping[str, Any]) -> str:
    scope = one.get(one["callback_type"], {})
    names = ("list_id", "campaign_id", "event_type", "source_code")
    return next((scope[name] for name in names if name in scope), "")


def ours(secret: str = SECRET, base: str = NOWHERE) -> str:
    return f"{base}/sms-flow/callbacks/{secret}"


def test_all_that_a_list_a_campaign_and_a_code_need_is_registered_once(hearing_world: World) -> None:
    """Version 2, so that numbers are E.164; the event type of our own campaign is among them. A repeat
    changes nothing."""
    everything = {
        "acquisition_campaigns": CAMPAIGN,
        "event_types": ["promo"],
        "source_codes": 52623,
    }
    report = hearing_world.run(register(**everything))
    assert report == {"registered": 7, "standing": 0, "replaced": 0, "elsewhere": [], "arrived": {}}
    before = standing(hearing_world)
    assert before == [
        ("ack_participant_added", CAMPAIGN, ours()),
        ("ack_participant_changed", CAMPAIGN, ours()),
        ("event_processed", "promo", ours()),
        ("event_processed", "sms_flow_1201", ours()),
        ("subscription_added", NEWS, ours()),
        ("subscription_removed", NEWS, ours()),
        ("unmatched_message_received", "52623", ours()),
    ]
    asked = len(hearing_world.requests("POST", "callbacks"))
    report = hearing_world.run(register(**everything))
    assert (report["registered"], report["standing"]) == (0, 7)
    assert standing(hearing_world) == before
    assert len(hearing_world.requests("POST", "callbacks")) == asked


def test_a_yes_counts_as_joining_the_list_that_is_registered_with_its_campaign(
    hearing_world: World, say: Any
) -> None:
    """Its callback names the campaign alone; no sensor and no Subscribe has told the ledger of the list."""

    def known(campaign_id: str) -> str | None:
        with closing(open_ledger()) as ledger:
            return ledger.list_of("acme", campaign_id)

    hearing_world.run(register())
    assert known(CAMPAIGN) is None, "of campaigns that are not registered nothing is heard"
    hearing_world.run(register(acquisition_campaigns=CAMPAIGN))
    assert known(CAMPAIGN) == NEWS
    say("register", "--list", "1202", "--campaign", "OFFR1202", "--no-check")
    assert known("OFFR1202") == "1202"


def test_an_older_secret_is_replaced_without_being_told_to(
    hearing_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one stands before the old one goes."""
    rotate(hearing_world, monkeypatch, OLDER)
    hearing_world.run(register())
    rotate(hearing_world, monkeypatch, f"{SECRET}, {OLDER}")
    report = hearing_world.run(register())
    assert (report["registered"], report["standing"], report["replaced"]) == (3, 0, 3)
    assert {url for _, _, url in standing(hearing_world)} == {ours()}
    moves = [
        one["method"] for one in hearing_world.requests(path="config/callbacks") if one["method"] != "GET"
    ]
    assert moves == ["POST"] * 6 + ["DELETE"] * 3


def test_what_leads_elsewhere_stays_beside_ours_and_is_reported(
    hearing_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the secret of whoever it is; Vibes tells both."""
    hearing_world.caller.register("subscription_added", ELSEWHERE)
    report = hearing_world.run(register())
    assert report["elsewhere"] == [
        {"callback_type": "subscription_added", "subject": NEWS, "to": "https://other.example.com/***"}
    ]
    assert ("subscription_added", NEWS, ELSEWHERE) in standing(hearing_world)
    assert ("subscription_added", NEWS, ours()) in standing(hearing_world)
    log = capsys.readouterr().out
    assert "replace=True" in log
    assert "secret" not in log + json.dumps(report)


def test_what_leads_elsewhere_makes_room_only_if_told_so(hearing_world: World) -> None:
    """Of the same type and list alone; the rest of it is somebody else's business."""
    hearing_world.caller.register("subscription_added", ELSEWHERE)
    others = {"subscription_added": {"list_id": "1202"}}
    hearing_world.caller.register("subscription_added", ELSEWHERE, **others)
    hearing_world.caller.register("person_added", ELSEWHERE)
    report = hearing_world.run(register(replace="true"))
    assert (report["registered"], report["replaced"], report["elsewhere"]) == (3, 1, [])
    assert standing(hearing_world) == [
        ("event_processed", "sms_flow_1201", ours()),
        ("person_added", "", ELSEWHERE),
        ("subscription_added", NEWS, ours()),
        ("subscription_added", "1202", ELSEWHERE),
        ("subscription_removed", NEWS, ours()),
    ]


@pytest.mark.parametrize("fault", ["reset_after", "reset_before"])
def test_a_lost_answer_makes_no_duplicate(hearing_world: World, fault: str) -> None:
    """It looks before it creates again."""
    hearing_world.fault(fault, method="POST", path="config/callbacks", count=1)
    hearing_world.run(register())
    assert len(standing(hearing_world)) == 3


def test_an_account_without_room_is_refused_before_anything_is_created(hearing_world: World) -> None:
    """Vibes allows 50."""
    for _ in range(48):
        hearing_world.caller.register("person_added", ELSEWHERE)
    with pytest.raises(AirflowFailException, match=r"allows 50 .* has 48 and 3 more are needed"):
        hearing_world.run(register())
    assert len(hearing_world.caller.vibes("GET", CALLBACKS).json()) == 48


def test_a_nearly_full_account_can_still_rotate_its_secret(
    hearing_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, for a newer one takes a place for a moment before the older one goes."""
    rotate(hearing_world, monkeypatch, OLDER)
    for _ in range(46):
        hearing_world.caller.register("person_added", ELSEWHERE)
    hearing_world.run(register())
    rotate(hearing_world, monkeypatch, SECRET)
    report = hearing_world.run(register())
    assert (report["registered"], report["replaced"]) == (3, 3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"lists": "9999"}, "list_id='9999'"),
        ({"acquisition_campaigns": ["NOPE"]}, "acquisition_campaign_id='NOPE'"),
        ({"source_codes": ["11111"]}, "source_codes: the account has no 11111, only 52623"),
        ({"callback_url": "airflow.example.com"}, "callback_url"),
        ({"replace": "perhaps"}, "replace"),
        ({"vibes_conn_id": "vibes_other"}, "callback_conn_ids"),
    ],
)
def test_a_wrong_parameter_fails_at_once_by_name(
    hearing_world: World, parameters: dict[str, Any], words: str
) -> None:
    """Before anything is registered that would never happen."""
    with pytest.raises(AirflowFailException, match=words):
        hearing_world.run(register(**parameters))
    assert standing(hearing_world) == []


def test_a_connection_without_secrets_is_refused_with_how_to_make_one(
    empty_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody could speak in the vendor's name."""
    for name, one in airflow_connections(empty_world.caller.sandbox.url, callback_secrets=None).items():
        monkeypatch.setenv(name, one)
    with pytest.raises(AirflowFailException, match=r"callback_secrets.*token_urlsafe"):
        empty_world.run(register())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"lists": ()}, "at least one"), ({"arrival_timeout": timedelta(0)}, "arrival_timeout")],
)
def test_what_can_never_work_is_refused_at_parse(parameters: dict[str, Any], words: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match=words):
        register(**parameters)


def test_test_events_of_each_type_arrive_and_nothing_of_them_is_applied(
    hearing_world: World, door: str
) -> None:
    """Through the receiver into the ledger's inbox. The made-up person is on no list, was never asked, and
    starts no campaign."""
    world = hearing_world
    everything = {"acquisition_campaigns": CAMPAIGN, "source_codes": "52623"}
    report = world.run(register(callback_url=door, check_arrival=True, **everything))
    assert report["arrived"] == dict.fromkeys(
        (
            "ack_participant_added",
            "ack_participant_changed",
            "subscription_added",
            "subscription_removed",
            "event_processed",
        ),
        True,
    )
    made = world.caller.panel("GET", "callbacks/record", params={"what": "made"})["entries"]
    assert len(made) == 5
    assert all(is_test_callback(one["payload"]) for one in made)
    with closing(open_ledger()) as ledger:
        wait_until(lambda: not ledger.unheard_callbacks())
        for subscribed in (True, False):
            assert list(ledger.stream_members("acme", NEWS, subscribed=subscribed)) == []
        assert {ledger.latest_change("acme", kind, NEWS) for kind in ChangeKind} == {0}
        assert [entry for mdn in (TEST_PHONE, "+15555550100") for entry in ledger.heard_of(mdn)] == []


def test_a_test_event_that_does_not_arrive_says_what_to_check(hearing_world: World) -> None:
    """The registrations stand: a repeat only tests again. Airflow's retries may help, so they are used."""
    impatient = register(check_arrival=True, arrival_timeout=timedelta(seconds=0.2))
    with pytest.raises(Unavailable, match=r"callback_url.*callback_secrets.*callback_sources") as caught:
        hearing_world.run(impatient)
    assert "subscription_added" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(standing(hearing_world)) == 3


def test_others_keep_theirs_as_long_as_ours_was_not_heard(hearing_world: World, door: str) -> None:
    """`replace` takes it away only once a test event has arrived here."""
    world = hearing_world
    world.caller.register("subscription_added", ELSEWHERE)
    impatient = register(check_arrival=True, replace=True, arrival_timeout=timedelta(seconds=0.2))
    with pytest.raises(Unavailable):
        world.run(impatient)
    assert ELSEWHERE in {url for _, _, url in standing(world)}
    report = world.run(register(check_arrival=True, replace=True, callback_url=door))
    # What led to the port where nobody listens leads elsewhere now, too.
    assert (report["registered"], report["replaced"], report["elsewhere"]) == (3, 4, [])
    assert {url for _, _, url in standing(world)} == {ours(base=door)}


# -- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def say(hearing_world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `callbacks …`; what it prints, errors after the rest."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_URL", NOWHERE)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_sms_flow.__main__.logging.disable", lambda level: None)

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["callbacks", *arguments]) == code
        printed = capsys.readouterr()
        assert "secret" not in (printed.out + printed.err).replace("callback_secrets", "")
        return str(printed.out + printed.err)

    return run


def test_the_command_line_registers_lists_and_removes(hearing_world: World, say: Any) -> None:
    """Ours and nobody else's, and no address with its secret."""
    hearing_world.caller.register("subscription_added", ELSEWHERE)
    assert say("list").splitlines()[1].split() == [
        *("subscription_added", NEWS, "elsewhere", "https://other.example.com/***", "9001")
    ]
    told = say("register", "--list", NEWS, "--campaign", CAMPAIGN, "--no-check")
    assert "Registered subscription_removed of 1201" in told
    assert "5 registered, 0 stood already, 0 removed." in told
    assert "leads to https://other.example.com/***, too: --replace" in told
    assert f"{NOWHERE}/sms-flow/callbacks/***" in say("list")
    assert say("remove", "--campaign", CAMPAIGN).endswith("2 removed.\n")
    assert say("remove", "--all").endswith("3 removed.\n")
    assert [url for _, _, url in standing(hearing_world)] == [ELSEWHERE]
    hearing_world.caller.panel("POST", "reset", json={"defaults": False})
    assert say("list") == "Nothing is registered.\n"


def test_the_command_line_removes_ours_by_an_older_secret_as_well(
    hearing_world: World, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shown as outdated first."""
    say("register", "--list", NEWS, "--no-check")
    rotate(hearing_world, monkeypatch, "another-secret-altogether")
    assert say("list").count(" outdated ") == 3
    assert say("remove", "--list", NEWS).endswith("3 removed.\n")


def test_the_command_line_waits_for_test_events(say: Any, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says of each that it has arrived."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_URL", door)
    assert "The test event of subscription_added has arrived" in say("register", "--list", NEWS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("register",), "at least one"),
        (("remove",), "at least one"),
        (("register", "--list", NEWS, "--timeout", "0"), "--timeout"),
        (("register", "--list", "9999"), "list_id='9999'"),
        (("list", "--conn-id", "vibes_other"), "callback_conn_ids"),
    ],
)
def test_the_command_line_refuses_what_cannot_work(say: Any, arguments: tuple[str, ...], words: str) -> None:
    """Removing everything wants to be said: --all."""
    assert words in say(*arguments, code=1)
