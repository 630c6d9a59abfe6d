"""What an answer to `POST …/events` means, and that no event ever leaves twice (DESIGN)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.clients.vibes import VibesClient, VibesRings
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import InvalidInput, Stopped
from tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    cut,
    envelope,
    hang,
    hang_up,
    raw,
    reset,
)
from tests.clients.test_throttle import gap

MDN = "+12025550132"
OK, REFUSED, RETRY = AnswerClass.OK, AnswerClass.REFUSED, AnswerClass.RETRY
BUG, CONFIG, IN_DOUBT = AnswerClass.BUG, AnswerClass.CONFIG, AnswerClass.IN_DOUBT
Play = Callable[..., VibesClient]


def send(client: VibesClient) -> Answer:
    return client.send_event("spring_offer", "event-1", MDN, {"message_body": "Hello"})


def find(client: VibesClient) -> Answer:
    return client.find_subscriber("12", mdn=MDN)


def leave(client: VibesClient) -> Answer:
    return client.unsubscribe("12", person_key="aaaa-bbbb")


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(202, {"event_id": "event-1"}), OK, "accepted"),
        (answer(200, {"event_id": 1, "new": []}), OK, "accepted"),
        (answer(202), OK, "accepted"),
        (answer(202, b"<html>hello</html>"), IN_DOUBT, "unreadable"),
        (answer(202, envelope("no")), IN_DOUBT, "unreadable"),
        (answer(202, [1]), IN_DOUBT, "unreadable"),
        (cut(202, b'{"event_id": "event-1"}', 9), IN_DOUBT, "unreadable"),
        (answer(204), IN_DOUBT, "unreadable"),
        (answer(429), RETRY, "rate_limited"),
        (answer(429, envelope("slow"), headers={"Retry-After": "0"}), RETRY, "rate_limited"),
        (answer(503, envelope("down")), RETRY, "unavailable"),
        (answer(503, envelope("down"), headers={"Retry-After": "0"}), RETRY, "unavailable"),
        (answer(503, b"<html>down</html>"), IN_DOUBT, "server_error"),
        (answer(503), IN_DOUBT, "server_error"),
        (answer(503, {"errors": []}), IN_DOUBT, "server_error"),
        (cut(503, b'{"errors": [{"message": "x"}]}', 12), IN_DOUBT, "server_error"),
        (answer(500, envelope("oops")), IN_DOUBT, "server_error"),
        (answer(502), IN_DOUBT, "server_error"),
        (answer(408), IN_DOUBT, "server_error"),
        (answer(400, envelope(f"bad number {MDN}")), REFUSED, "bad_request"),
        (answer(422, b""), REFUSED, "unprocessable"),
        (answer(413), REFUSED, "too_large"),
        (answer(401), CONFIG, "credentials"),
        (answer(403, b"<html>"), CONFIG, "forbidden"),
        (answer(404, envelope("no company")), CONFIG, "not_found"),
        (answer(404, b"default backend - 404"), CONFIG, "foreign_404"),
        (answer(307, headers={"Location": "/elsewhere"}), CONFIG, "redirect"),
        (answer(405), BUG, "unexpected_status"),
        (reset, IN_DOUBT, "no_answer"),
        (hang_up, IN_DOUBT, "no_answer"),
        (hang(1.0), IN_DOUBT, "no_answer"),
        (raw(b"garbage, not HTTP\r\n\r\n"), IN_DOUBT, "no_answer"),
        (raw(b"HTTP/1.1 202 Accepted\r\nno header\r\n\r\n"), IN_DOUBT, "no_answer"),
    ],
)
def test_an_answer_to_an_event_means_what_the_design_says(
    play: Play, server: ScriptedServer, step: Step, kind: AnswerClass, reason: str
) -> None:
    """DESIGN "What an answer to POST …/events means"; and whatever comes, the event went out once."""
    got = send(play(step))
    assert (got.kind, got.reason) == (kind, reason)
    assert len(server.requests) == 1
    assert MDN not in repr(got)


def test_a_refused_connection_means_that_no_event_left(make_vibes: Play) -> None:
    """Nothing listens there: it did not happen, so it may be repeated."""
    with socket.create_server(("127.0.0.1", 0)) as vacant:
        port = vacant.getsockname()[1]
    assert send(make_vibes(f"http://127.0.0.1:{port}")) == Answer(
        RETRY, "unreachable", "POST /companies/{company_key}/events: could not connect"
    )


def test_an_unknown_host_means_that_no_event_left(make_vibes: Play) -> None:
    """A name that does not resolve is a connection that was never made."""
    assert send(make_vibes("http://vibes.invalid")).reason == "unreachable"


def test_a_connection_reset_before_anything_was_read_is_in_doubt(make_vibes: Play) -> None:
    """We cannot see whether the other side read what we wrote."""
    with ScriptedServer(deaf=True) as deaf:
        assert send(make_vibes(deaf.url)).kind is IN_DOUBT


@pytest.mark.parametrize("deaf", [True, False])
def test_a_failed_tls_handshake_means_that_no_event_left(make_vibes: Play, deaf: bool) -> None:
    """Whether reset or silent: the request is written only after the handshake."""
    with ScriptedServer(forever=hang(1.0), deaf=deaf) as plain:
        got = send(make_vibes(plain.url.replace("http:", "https:")))
    assert (got.kind, got.reason) == (RETRY, "unreachable")


def test_a_stale_kept_alive_connection_is_in_doubt_and_not_used_twice(
    play: Play, server: ScriptedServer
) -> None:
    """The server closes while we write on a connection it kept: it may or may not have read the event."""
    client = play(answer(202), hang_up, answer(202))
    assert [send(client).kind for _ in range(3)] == [OK, IN_DOUBT, OK]
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_connection_that_was_closed_meanwhile_is_replaced(play: Play, server: ScriptedServer) -> None:
    """A closed idle connection is noticed before anything is written on it."""
    client = play(answer(202, close=True), answer(202))
    assert send(client).kind is OK
    time.sleep(0.1)  # the news of the closing travels
    assert send(client).kind is OK
    assert [request.connection for request in server.requests] == [1, 2]


def test_a_connection_is_kept_for_the_next_call(play: Play, server: ScriptedServer) -> None:
    """One session: answered calls share a connection."""
    client = play(answer(202, {"event_id": "a"}), answer(404, envelope("no")), answer(204))
    assert [send(client).kind, find(client).kind, leave(client).kind] == [OK, OK, OK]
    assert server.connections == 1


def test_an_event_names_its_person_once(vibes: VibesClient) -> None:
    """Exactly one identifier is allowed in event_data."""
    with pytest.raises(InvalidInput, match="person_key"):
        vibes.send_event("spring_offer", "event-1", MDN, {"person_key": "x"})


def test_a_slot_is_held_by_the_read_timeout_where_no_answer_came(make_vibes: Play) -> None:
    """The server may count late what it never answered; an answer or no connection frees the slot at once."""
    with ScriptedServer(answer(202), hang(1.0)) as server:
        rings = VibesRings(events=Ring(1, 0.01))
        client = make_vibes(server.url, rings=rings)
        send(client)
        rings.events.take(_never_more_than(20)).give_back()
        send(client)
        with pytest.raises(Stopped):
            rings.events.take(_never_more_than(3))


def test_a_slot_of_the_caller_is_used_and_given_back(play: Play, server: ScriptedServer) -> None:
    """The engine takes the slot first, then claims, then sends under it."""
    client = play(answer(202))
    slot = client.rings.events.take()
    client.send_event("spring_offer", "event-1", MDN, {}, slot=slot)
    assert len(server.requests) == 1
    assert client.rings.events._in_use == 0


def _never_more_than(count: int) -> Callable[[], bool]:
    glances = [0]

    def stop() -> bool:
        glances[0] += 1
        return glances[0] > count

    return stop


@pytest.mark.parametrize(("status", "seconds"), [(429, 0.2), (503, 0.1), (202, 0.1)])
def test_a_429_slows_the_ring_of_events(
    server: ScriptedServer, make_vibes: Callable[..., VibesClient], status: int, seconds: float
) -> None:
    """We were too fast, as the vendor counts: half the pace for events, and for nothing else."""
    now = [100.0]
    rings = VibesRings(events=Ring(10, clock=lambda: now[0]), calls=Ring(10, clock=lambda: now[0]))
    server.play(answer(status, envelope("slow down") if status != 202 else b""))
    send(make_vibes(server.url, rings=rings))
    assert gap(rings.events, now) == pytest.approx(seconds, abs=0.03)
    assert gap(rings.calls, now) == pytest.approx(0.1, abs=0.03)
