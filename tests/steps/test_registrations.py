"""Registering until it stands: lost answers, slow listings, refusals, and other people at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from socket import socket
from typing import Any

import pytest

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.clients.vibes import Patience, VibesClient, VibesRings
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Stopped, Unavailable
from airflow_sms_flow.core.registrations import Need, Subjects
from airflow_sms_flow.steps.callback_plan import CallbackAddress
from airflow_sms_flow.steps.registrations import (
    Registered,
    Registrar,
    check_address,
    checked_needs,
    open_needs,
)
from tests.clients.scripted_server import Request, ScriptedServer, Step, answer, envelope, reset
from tests.sandbox.sandbox_caller import CALLBACKS, Caller

HERE = CallbackAddress("https://flow.example.com/sms-flow/callbacks/the-newest-secret")
JOINED = Need("subscription_added", "12")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Vibes, word for word."""
    with ScriptedServer() as running:
        yield running


def registrar(server: ScriptedServer, **parameters: Any) -> Registrar:
    """One that does not wait long."""
    client = VibesClient(
        host=server.url,
        company_key="acme",
        username="u",
        password="p",
        rings=VibesRings(Ring(1000, 0.1), Ring(1000, 0.1)),
        patience=Patience(attempts=1),
    )
    usual: dict[str, Any] = {"look_for_seconds": 60, "look_every_seconds": 0.01, "most_attempts": 3}
    return Registrar(client, HERE, **(usual | parameters))


def register(server: ScriptedServer, *needs: Need, **parameters: Any) -> Registered:
    return registrar(server, **parameters).register(needs or (JOINED,), replace_others=False)


def listing(*ids: str, url: str = HERE.url) -> Step:
    """What a look finds: registrations of ours, with these ids."""
    one = {
        "callback_type": "subscription_added",
        "subscription_added": {"list_id": "12"},
        "destination": {"url": url},
    }
    return answer(200, [{"callback_id": identifier, **one} for identifier in ids])


def moves(server: ScriptedServer) -> str:
    """What was asked, as its first letters: Get, Post, Delete."""
    return "".join(request.method[0] for request in server.requests)


@pytest.mark.parametrize("lost", [reset, answer(500), answer(201, b"<html>"), answer(409, envelope("x"))])
def test_after_a_lost_answer_it_looks(server: ScriptedServer, lost: Step) -> None:
    """What stands after all is not created again, though it shows up late."""
    server.play(listing(), lost, listing(), listing(), listing("7"))
    assert register(server).created == (JOINED,)
    assert moves(server) == "GPGGG"


def test_what_never_shows_up_is_asked_for_again_and_then_given_up() -> None:
    """A bounded number of times; Airflow's retries go on from there."""
    with ScriptedServer(forever=listing()) as empty:
        with pytest.raises(Unavailable, match="subscription_added of 12 was asked for 3 times"):
            register(empty, look_for_seconds=0.02)
        assert moves(empty).count("P") == 3


def test_passing_faults_are_waited_out() -> None:
    """It did not happen: asked for again after a growing pause."""
    posts, made = [answer(429), answer(503, envelope("x")), answer(201)], []

    def vibes(request: Request, peer: socket) -> bool:
        if request.method == "GET":
            return listing(*made)(request, peer)
        step = posts.pop(0)
        made.extend([] if posts else ["7"])
        return step(request, peer)

    with ScriptedServer(forever=vibes) as server:
        assert register(server).created == (JOINED,)
        assert moves(server).count("P") == 3
        assert moves(server).count("G") > 4


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (answer(422, envelope("x")), ConfigError, "the callback subscription_added of 12: .*check list_id"),
        (answer(405), BugError, "405"),
    ],
)
def test_a_refusal_ends_it(server: ScriptedServer, step: Step, error: type[Exception], words: str) -> None:
    """With what was asked for, and without the address."""
    server.play(listing(), step)
    with pytest.raises(error, match=words) as caught:
        register(server)
    assert "secret" not in str(caught.value)


def test_a_duplicate_of_ours_is_taken_away(server: ScriptedServer) -> None:
    """Two tasks registered at once: the older one stays, whichever task cleans up."""
    server.play(listing("10", "9"), answer(200), listing("9"))
    done = register(server)
    assert ([one.id for one in done.replaced], done.standing) == (["10"], (JOINED,))
    assert server.requests[1].path.endswith("/10")


def test_a_listing_that_still_shows_what_is_gone_does_not_confuse_it(server: ScriptedServer) -> None:
    """What was deleted is not deleted again."""
    server.play(listing("10", "9"), answer(200), listing("10", "9"))
    register(server)
    assert moves(server) == "GDG"


def test_an_account_with_more_than_50_says_itself_when_it_is_full(server: ScriptedServer) -> None:
    """Then Vibes counts something else than registrations."""
    others = [{"callback_id": str(n), "callback_type": "person_added"} for n in range(60)]
    server.play(answer(200, others), answer(422, envelope("too many")))
    with pytest.raises(ConfigError, match="422"):
        register(server)


def test_it_stops_when_told_to(server: ScriptedServer) -> None:
    """Before the next change."""
    server.play(listing())
    with pytest.raises(Stopped):
        register(server, stop=lambda: True)


def test_tasks_that_register_at_once_agree_in_the_end(vibes: Caller, client: VibesClient) -> None:
    """Each may create what the other is creating; what is there twice goes with the next look."""
    needs = checked_needs(client, Subjects(lists=("1201",), campaigns=("NEWS1201",), source_codes=("52623",)))
    one = Registrar(client, HERE)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: one.register(needs, replace_others=False), range(3)))
    one.register(needs, replace_others=False)
    assert len(vibes.vibes("GET", CALLBACKS).json()) == len(needs) == 6


def test_our_own_event_type_belongs_to_each_list() -> None:
    """What becomes of the texts that Send SMS Message sends there."""
    needs = open_needs(Subjects(lists=("12",), event_types=("promo",)))
    assert [str(need) for need in needs][2:] == ["event_processed of sms_flow_12", "event_processed of promo"]


@pytest.mark.parametrize(
    ("url", "vibes", "refused"),
    [
        ("https://flow.example.com/x/secret", "https://public-api.vibescm.com", False),
        ("http://127.0.0.1:8080/x/secret", "http://127.0.0.1:9000", False),
        ("http://flow.example.com/x/secret", "https://public-api.vibescm.com", True),
        (f"https://flow.example.com/{'x' * 1024}/secret", "https://public-api.vibescm.com", True),
    ],
)
def test_an_address_that_vibes_could_not_use_is_refused(url: str, vibes: str, refused: bool) -> None:
    """https, and 1024 characters at most; without its secret in the text."""
    if not refused:
        check_address(CallbackAddress(url), vibes)
        return
    with pytest.raises(InvalidInput, match="callback_url") as caught:
        check_address(CallbackAddress(url), vibes)
    assert "/secret" not in str(caught.value)
