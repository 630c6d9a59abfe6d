"""Clients against scripted servers on real ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_sms_flow.clients.marketo import MarketoClient, Patience
from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.clients.vibes import VibesClient, VibesRings
from tests.clients.scripted_server import ScriptedServer, Sleeps, Step

QUICK = Patience(attempts=4, seconds=30.0, first_wait=0.01, longest_wait=0.02)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server without a script yet."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def sleeps() -> Sleeps:
    """What the client wanted to wait."""
    return Sleeps()


@pytest.fixture
def make_vibes(sleeps: Sleeps) -> Iterator[Callable[..., VibesClient]]:
    """Vibes clients that do not really wait between repeats."""
    made: list[VibesClient] = []

    def make(host: str, **settings: Any) -> VibesClient:
        defaults: dict[str, Any] = {
            "company_key": "ACME",
            "username": "api-user",
            "password": "sw0rdfish-secret",
            "timeout": (0.5, 0.5),
            "rings": VibesRings(events=Ring(1000, 0.1), calls=Ring(1000, 0.1)),
            "patience": QUICK,
            "sleep": sleeps,
        }
        made.append(VibesClient(host=host, **(defaults | settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def vibes(server: ScriptedServer, make_vibes: Callable[..., VibesClient]) -> VibesClient:
    """A Vibes client of `server`."""
    return make_vibes(server.url)


@pytest.fixture
def play(server: ScriptedServer, vibes: VibesClient) -> Callable[..., VibesClient]:
    """Set the script of `server`, and get the client."""

    def script(*steps: Step) -> VibesClient:
        server.play(*steps)
        return vibes

    return script


@pytest.fixture
def make_marketo(sleeps: Sleeps) -> Iterator[Callable[..., MarketoClient]]:
    """Marketo clients that do not really wait."""
    made: list[MarketoClient] = []

    def make(host: str, **settings: Any) -> MarketoClient:
        defaults: dict[str, Any] = {
            "client_id": "client-id",
            "client_secret": "sw0rdfish-secret",
            "timeout": (0.5, 0.5),
            "ring": Ring(1000, 0.1),
            "sleep": sleeps,
        }
        made.append(MarketoClient(host=host, **(defaults | settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def marketo(server: ScriptedServer, make_marketo: Callable[..., MarketoClient]) -> MarketoClient:
    """A Marketo client of `server`."""
    return make_marketo(server.url)
