"""One event-triggered campaign per list, made once, verified before every run."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.errors import ConfigError, Stopped
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.steps.event_campaign import (
    OUR_TEMPLATE,
    OurCampaign,
    our_event_type,
    verify,
    verify_or_could_create,
)
from tests.sandbox.sandbox_caller import Caller, campaign_body
from tests.steps.conftest import LIST, make_client

EVENT_TYPE = f"sms_flow_{LIST}"


def ours(client: VibesClient, ledger: Ledger, **changes: Any) -> OurCampaign:
    """As the send operator makes it, but for its patience."""
    patience = {"ready_within_seconds": 20.0, "look_for_seconds": 0.5, "look_every_seconds": 0.05}
    named = {"company_key": accounts.COMPANY_KEY, "list_id": LIST, "source_code": accounts.SOURCE_CODE}
    return OurCampaign(client, ledger, **(named | patience | changes))


def standing(vibes: Caller) -> list[dict[str, Any]]:
    """The campaigns of the account, as the sandbox counts them."""
    found: list[dict[str, Any]] = vibes.panel("GET", "state")["event_triggered_messages"]
    return found


def create(
    vibes: Caller, event_type: str = EVENT_TYPE, template: str = OUR_TEMPLATE, **targeting: Any
) -> None:
    """A campaign made by somebody else, running."""
    body = campaign_body()["targeting"] | {"message_template": template} | targeting
    vibes.create_campaign(event_type=event_type, targeting=body)
    vibes.advance(1)


def test_eight_sends_at_once_make_one_campaign(vibes: Caller, ledger: Ledger) -> None:
    """On an account without campaigns; the others wait until it runs."""
    barrier = threading.Barrier(8)

    def ensure() -> str:
        with closing(make_client(vibes)) as client:
            barrier.wait()
            return ours(client, ledger).ensure()

    with ThreadPoolExecutor(8) as pool:
        event_types = {future.result() for future in [pool.submit(ensure) for _ in range(8)]}
    assert event_types == {EVENT_TYPE}
    (campaign,) = standing(vibes)
    assert campaign["targeting"]["message_template"] == OUR_TEMPLATE
    assert campaign["targeting"]["filters"] == [{"name": "subscription", "selector": "any", "value": [1201]}]


def test_a_campaign_that_stands_is_used(vibes: Caller, client: VibesClient, sqlite_ledger: Ledger) -> None:
    """Every run after the first; also where Vibes writes the event type in other letters."""
    create(vibes, EVENT_TYPE.upper(), "{{ev.message_body}}")
    assert ours(client, sqlite_ledger).ensure() == EVENT_TYPE
    assert len(standing(vibes)) == 1


def test_a_creation_whose_answer_was_lost_is_looked_for(
    vibes: Caller, client: VibesClient, sqlite_ledger: Ledger
) -> None:
    """It had happened: no second campaign, which would text everybody twice."""
    vibes.panel("POST", "faults", json={"kind": "reset_after", "method": "POST", "count": 1})
    ours(client, sqlite_ledger).ensure()
    assert len(standing(vibes)) == 1


@pytest.mark.parametrize(
    "fault",
    [{"kind": "reset_before"}, {"kind": "status", "status": 503}, {"kind": "status", "status": 429}],
    ids=["lost", "unavailable", "rate limited"],
)
def test_a_creation_that_did_not_happen_is_repeated(
    vibes: Caller, client: VibesClient, sqlite_ledger: Ledger, fault: dict[str, Any]
) -> None:
    """Within the same task, once it has been looked for long enough."""
    vibes.panel("POST", "faults", json={"method": "POST", "count": 1} | fault)
    ours(client, sqlite_ledger).ensure()
    assert len(standing(vibes)) == 1


def test_whoever_leaves_with_a_creation_in_doubt_keeps_its_claim(
    vibes: Caller, client: VibesClient, sqlite_ledger: Ledger
) -> None:
    """Told to stop just then: the next task must not create while that one may still appear."""
    vibes.panel("POST", "faults", json={"kind": "reset_before", "method": "POST", "count": 1})
    stop = threading.Event()
    threading.Timer(0.4, stop.set).start()
    with pytest.raises(Stopped):
        ours(client, sqlite_ledger, stop=stop.is_set, look_for_seconds=20.0).ensure()
    assert not sqlite_ledger.claim_event_campaign(accounts.COMPANY_KEY, LIST, EVENT_TYPE, "next")


def test_whoever_leaves_without_a_creation_gives_its_claim_back(
    vibes: Caller, client: VibesClient, sqlite_ledger: Ledger
) -> None:
    """A refused creation is certain: the next task may try at once, with a mended connection."""
    vibes.panel("POST", "faults", json={"kind": "status", "status": 422, "method": "POST", "count": 1})
    with pytest.raises(ConfigError, match=r"list 1201: POST .* answered 422: check source_code"):
        ours(client, sqlite_ledger).ensure()
    with pytest.raises(ConfigError, match=r"source_code is '00000'.*the account has: 52623"):
        ours(client, sqlite_ledger, source_code="00000").ensure()
    assert sqlite_ledger.claim_event_campaign(accounts.COMPANY_KEY, LIST, EVENT_TYPE, "next")


def test_a_campaign_that_never_runs_is_told(
    vibes: Caller, client: VibesClient, sqlite_ledger: Ledger
) -> None:
    """Somebody has to look at it in Vibes."""
    vibes.panel("POST", "settings", json={"campaign_start_seconds": 3600})
    began = time.monotonic()
    with pytest.raises(ConfigError, match="not running after 0 seconds"):
        ours(client, sqlite_ledger, ready_within_seconds=0.4).ensure()
    assert time.monotonic() - began < 5
    assert len(standing(vibes)) == 1


def test_a_campaign_without_our_filter_stops_the_run(vibes: Caller, client: VibesClient) -> None:
    """Without it, or with a wider one, an event could reach people off the list."""
    other = [{"name": "subscription", "selector": "any", "value": [1202]}]
    wider = [{"name": "subscription", "selector": "any", "value": [1201, 1202]}]
    turned = [{"name": "subscription", "selector": "none", "value": [1201]}]
    for n, filters in enumerate([[], other, wider, turned]):
        create(vibes, f"promo-{n}", filters=filters)
        with pytest.raises(ConfigError, match="must be exactly 'any' of list 1201"):
            verify(client, f"promo-{n}", LIST, None)


def test_our_campaign_with_another_template_stops_the_run(vibes: Caller, client: VibesClient) -> None:
    """Somebody edited it; a campaign of the author's own may say what it likes."""
    create(vibes, template="Buy! {{ ev.message_body }}")
    verify(client, EVENT_TYPE, LIST, None)
    with pytest.raises(ConfigError, match="no longer has our template"):
        verify(client, EVENT_TYPE, LIST, OUR_TEMPLATE)
    with pytest.raises(ConfigError, match="no longer has our template"):
        verify_or_could_create(client, LIST, accounts.SOURCE_CODE)


def test_two_campaigns_for_one_event_type_stop_the_run(vibes: Caller, client: VibesClient) -> None:
    """Each would send the text; canceled ones do not count."""
    for _ in range(2):
        create(vibes)
    with pytest.raises(ConfigError, match="2 scheduled or running campaigns carry it"):
        verify(client, EVENT_TYPE, LIST, OUR_TEMPLATE)
    vibes.vibes("DELETE", f"/companies/acme/mobiledb/event_triggered_messages/{_id(standing(vibes)[0])}")
    assert verify(client, EVENT_TYPE, LIST, OUR_TEMPLATE).id == _id(standing(vibes)[1])


def test_an_event_type_without_a_running_campaign_stops_the_run(vibes: Caller, client: VibesClient) -> None:
    """None at all, or one that is only scheduled: nobody would get anything."""
    with pytest.raises(ConfigError, match="0 scheduled or running campaigns"):
        verify(client, "promo", LIST, None)
    verify_or_could_create(client, LIST, accounts.SOURCE_CODE)
    with pytest.raises(ConfigError, match="source_code is ''"):
        verify_or_could_create(client, LIST, "")
    vibes.create_campaign(start_date="2999-01-01")
    with pytest.raises(ConfigError, match="is scheduled, not running yet"):
        verify(client, "promo", LIST, None)


@pytest.mark.parametrize(("list_id", "event_type"), [("1201", "sms_flow_1201"), ("a b/ü", "sms_flow_a-b--")])
def test_an_event_type_has_plain_characters_only(list_id: str, event_type: str) -> None:
    """Vibes refuses others."""
    assert our_event_type(list_id) == event_type


def _id(campaign: dict[str, Any]) -> int:
    return int(campaign["event_triggered_message_id"])
