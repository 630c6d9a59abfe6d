"""Send SMS Message: the campaign that carries the text, found, made once, or refused."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow.sandbox import Sandbox
from tests.operators.world import ANN, OUR_EVENT_TYPE, World, airflow_connections, send


def test_the_campaign_of_a_list_is_made_once_and_then_used(empty_world: World) -> None:
    """With the subscription filter of exactly this list, and a template that holds nothing but our text."""
    world = empty_world
    world.join(ANN)
    world.run(send(audience=world.audience(ANN)))
    world.run(send(audience=world.audience(ANN), campaign_key="next"))
    (campaign,) = world.campaigns()
    assert campaign["event_type"] == OUR_EVENT_TYPE
    assert [one["value"] for one in campaign["targeting"]["filters"]] == [[1201]]
    assert world.texts(ANN) == ["Sale!", "Sale!"]


def test_eight_sends_at_once_make_one_campaign(empty_world: World) -> None:
    """On an account without campaigns: one creates it, the others wait for it, and each sends its text."""
    world = empty_world
    world.caller.panel("POST", "settings", json={"campaign_start_seconds": 0.5})
    world.join(ANN)
    audience = world.audience(ANN)
    failures: list[BaseException] = []

    def one(number: int) -> None:
        mine = World(world.caller, world.folder)
        try:
            mine.run(send(audience=audience, task_id=f"send_{number}", message=f"Text {number}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(world.campaigns()) == 1
    assert sorted(world.texts(ANN)) == [f"Text {number}" for number in range(8)]


def test_the_author_may_name_a_campaign_that_stands(world: World) -> None:
    """Then its own template is what people read; with a message, the text travels along."""
    world.join(ANN)
    world.caller.create_campaign(event_type="birthday", targeting=_targeting("Happy birthday!"))
    operator = send(audience=world.audience(ANN), message=None, event_type="birthday")
    assert world.run(operator)["accepted"] == 1
    assert world.texts(ANN) == ["Happy birthday!"]
    assert len(world.campaigns()) == 2


@pytest.mark.parametrize(
    ("targeting", "words"),
    [
        ({"filters": []}, "subscription filter"),
        ({"filters": [{"name": "subscription", "selector": "any", "value": [1202]}]}, "subscription filter"),
        ({"filters": [{"name": "subscription", "selector": "any", "value": [1201, 1202]}]}, "filter"),
        ({"filters": [{"name": "subscription", "selector": "none", "value": [1201]}]}, "filter"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_campaign_that_could_reach_others_stops_the_task(
    world: World, targeting: dict[str, Any], words: str, dry_run: bool
) -> None:
    """Without the list's own filter an event may reach anybody."""
    world.join(ANN)
    world.caller.create_campaign(event_type="promo", targeting=_targeting("x") | targeting)
    with pytest.raises(AirflowFailException, match=words):
        world.run(send(audience=world.audience(ANN), event_type="promo", dry_run=dry_run))
    assert world.caller.effects("event_accepted") == []


def test_a_campaign_of_ours_that_somebody_changed_stops_the_task(world: World) -> None:
    """A template with words of its own would text something else."""
    campaign = world.campaigns()[0]
    message_id = campaign["event_triggered_message_id"]
    answer = world.caller.vibes(
        "PUT",
        f"/companies/acme/mobiledb/event_triggered_messages/{message_id}",
        json={"targeting": _targeting("Buy! {{ ev.message_body }}")},
    )
    assert answer.ok, answer.text
    with pytest.raises(AirflowFailException, match="no longer has our template"):
        world.run(send(audience=world.audience(ANN)))


def test_an_event_type_that_nobody_carries_is_named(world: World) -> None:
    """Exactly one campaign must stand for it."""
    with pytest.raises(AirflowFailException, match="event_type 'gone': 0 scheduled or running"):
        world.run(send(audience=world.audience(ANN), event_type="gone"))


def _targeting(template: str) -> dict[str, Any]:
    sms = {"sourcecode": "52623", "country_code": "1", "sourcecode_type": "SC"}
    filters = [{"name": "subscription", "selector": "any", "value": [1201]}]
    return {"message_template": template, "channel": "sms", "sms": sms, "filters": filters}


@pytest.mark.parametrize("missing", ["company_key", "source_code"])
def test_a_connection_that_lacks_something_names_it(
    empty_world: World, flow_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """The company's key always, the source code where a campaign has to be made."""
    for name, value in airflow_connections(flow_sandbox.url, **{missing: None}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AirflowFailException, match=missing):
        empty_world.run(send(audience=empty_world.audience(ANN)))
    assert empty_world.caller.effects("event_accepted") == []
