"""Send SMS Message: only members, once, exactly the text, and everybody accounted for."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import closing, suppress
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_sms_flow import SmsMessage, storage
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.hooks.vibes import VibesHook
from tests.operators.world import (
    ANN,
    BOB,
    CYD,
    DEE,
    MONDAY,
    NEWS,
    Run,
    World,
    adds_up,
    airflow_connections,
    send,
)

BY_HAND = Run(run_type="manual", run_id="manual__1")
BY_HAND_AGAIN = Run("manual", "manual__2", MONDAY + timedelta(hours=1))
BACKFILL = Run(run_type="backfill", run_id="backfill__1")


def test_only_members_of_the_list_are_texted(world: World) -> None:
    """Somebody off the list is refused before any event leaves; the report accounts for everybody."""
    world.join(ANN, BOB)
    report = world.run(send(audience=world.audience(ANN, BOB, CYD)))
    assert (world.texts(ANN), world.texts(BOB), world.texts(CYD)) == (["Sale!"], ["Sale!"], [])
    assert report == {
        "step": "send",
        "campaign_key": f"sms/send/{MONDAY.isoformat()}",
        "list_id": NEWS,
        "rows": 3,
        "accepted": 2,
        "already": 0,
        "refused": {"not_subscribed": 1},
        "skipped": {},
        "in_doubt": 0,
        "failed": 0,
        "attempted": 2,
        "delivery": DeliveryReport(sent=2, unknown=2).as_dict(),
    }
    assert {one["phone"] for one in world.caller.effects("event_accepted")} == {ANN, BOB}


def test_the_campaigns_filter_may_decide_alone(world: World) -> None:
    """Without a lookup Vibes takes the event and drops it: accepted is not delivered."""
    world.join(ANN)
    report = world.run(send(audience=world.audience(ANN, BOB), membership="campaign"))
    assert report["accepted"] == 2
    assert (world.texts(ANN), world.texts(BOB)) == (["Sale!"], [])
    assert not world.requests("GET", "/subscribers")


def test_who_joins_later_is_texted_by_the_next_try(world: World) -> None:
    """Not being on the list is our own refusal: it is looked at anew, and the others are left alone."""
    world.join(ANN)
    audience = world.audience(ANN, BOB)
    world.run(send(audience=audience))
    world.join(BOB)
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["already"], report["refused"]) == (1, 1, {})
    assert (world.texts(ANN), world.texts(BOB)) == (["Sale!"], ["Sale!"])


def test_a_second_run_of_the_same_task_sends_nothing(world: World) -> None:
    """A retry, a cleared task and a re-run of the interval share the key."""
    world.join(ANN, BOB)
    audience = world.audience(ANN, BOB)
    world.run(send(audience=audience))
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["already"], report["attempted"]) == (0, 2, 0)
    assert len(world.caller.effects("text_delivered")) == 2
    assert {row["state"] for row in world.rows()} == {"accepted"}


def test_results_hold_everybody_and_the_xcoms_hold_nobody(world: World) -> None:
    """The file: id, phone, state, reason, event_id, at. What is pushed: paths and numbers of rows."""
    world.join(ANN)
    report = world.run(send(audience=world.audience(ANN, BOB, firstName=["Ann", "Bob"])))
    schema = storage.read_schema(world.pushed["results"]["path"])
    assert schema.names == ["id", "phone", "state", "reason", "event_id", "at"]
    ann, bob = world.rows()
    assert (ann["id"], ann["phone"], ann["state"], ann["reason"]) == (1, ANN, "accepted", "accepted")
    assert (bob["id"], bob["phone"], bob["state"], bob["reason"]) == (2, BOB, "refused", "not_subscribed")
    assert re.fullmatch("[0-9a-f]{32}", ann["event_id"])
    assert ann["at"].tzinfo is not None
    assert ann["event_id"] == world.caller.effects("event_accepted")[0]["event_id"]
    assert set(world.pushed) == {"results"}
    assert world.pushed["results"] == {"path": world.pushed["results"]["path"], "rows": 2}
    assert not re.search(r"2025550|Ann|Bob|Sale", json.dumps([report, world.pushed]))


def test_texts_are_rendered_for_each_person_and_data_is_never_read_as_template(world: World) -> None:
    """A name that looks like Liquid or Jinja comes through as harmless text."""
    names = ["Zoë", None, "{{ ev.mdn }}", "{% if 1 %}x", "{{lead.Last Name}}"]
    phones = [f"+1202555012{n}" for n in range(5)]
    world.join(*phones)
    message = SmsMessage("Hi {{lead.First Name:default=there}}: {{my.offer}}!", my={"offer": "20 % off"})
    world.run(send(audience=world.audience(*phones, firstName=names), message=message))
    assert [world.texts(phone)[0] for phone in phones] == [
        "Hi Zoë: 20 % off!",
        "Hi there: 20 % off!",
        "Hi (( ev.mdn )): 20 % off!",
        "Hi (% if 1 %)x: 20 % off!",
        "Hi ((lead.Last Name)): 20 % off!",
    ]


def test_a_text_that_gets_too_long_is_refused_for_that_person(world: World) -> None:
    """Marketo would cut it at 900 characters; we say so, and text the others."""
    world.join(ANN, BOB)
    audience = world.audience(ANN, BOB, firstName=["A" * 900, "Bob"])
    report = world.run(send(audience=audience, message=SmsMessage("Hello {{lead.firstName}}")))
    assert report["refused"] == {"too_long": 1}
    assert (world.texts(ANN), world.texts(BOB)) == ([], ["Hello Bob"])


def test_a_mixed_audience_adds_up(world: World) -> None:
    """Rows = accepted + already + refused + skipped + in doubt + failed."""
    world.join(ANN, BOB, DEE)
    report = world.run(
        send(
            audience=world.audience(ANN, BOB, CYD, DEE, firstName=["A", "x" * 901, "C", " "]),
            message=SmsMessage("{{lead.firstName}}"),
        )
    )
    assert adds_up(report)
    assert (report["accepted"], report["refused"]) == (
        1,
        {"empty_text": 1, "not_subscribed": 1, "too_long": 1},
    )


# -- what counts as the same message -----------------------------------------------------------------


def test_the_same_text_by_hand_within_a_day_is_skipped(world: World) -> None:
    """The UI makes a new logical date at every press of Trigger; that alone is no reason to text again."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.run(send(audience=audience), BY_HAND)
    assert world.run(send(audience=audience), BY_HAND_AGAIN)["skipped"] == {"recently_sent": 1}
    assert world.texts(ANN) == ["Sale!"]
    world.run(send(audience=audience, repeat_within=None), BY_HAND_AGAIN.again())
    assert world.texts(ANN) == ["Sale!", "Sale!"]


def test_another_text_or_a_key_of_its_own_is_another_message(world: World) -> None:
    """The day's pause is for the very same text in runs that nobody gave a key."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.run(send(audience=audience), BY_HAND)
    assert world.run(send(audience=audience, message="Sale ends!"), BY_HAND_AGAIN)["accepted"] == 1
    keyed = send(audience=audience, campaign_key="spring/1")
    assert world.run(keyed, Run("manual", "manual__3", MONDAY + timedelta(hours=2)))["accepted"] == 1


def test_a_changed_text_under_a_kept_key_counts_as_already(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The key says what a message is; a new text wants a new key, and the log says so."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.run(send(audience=audience, campaign_key="spring"))
    report = world.run(send(audience=audience, campaign_key="spring", message="Other"), BY_HAND)
    assert (report["already"], report["accepted"]) == (1, 0)
    assert world.texts(ANN) == ["Sale!"]
    assert "another text under campaign key 'spring'" in caplog.text + "".join(capfd.readouterr())


def test_once_means_once_per_number_and_list(world: World) -> None:
    """`once:` holds across runs and DAGs."""
    world.join(ANN)
    audience = world.audience(ANN)
    for day in range(3):
        run = Run("scheduled", f"scheduled__{day}", MONDAY + timedelta(days=day))
        operator = send(audience=audience, campaign_key="once:welcome")
        operator.dag = DAG(f"dag_{day}", schedule=None)
        world.run(operator, run)
    assert world.texts(ANN) == ["Sale!"]


def test_a_run_without_a_logical_date_is_known_by_its_run_id(world: World) -> None:
    """Airflow 3 has runs without one: the same run never sends twice, the next one may."""
    world.join(ANN)
    audience = world.audience(ANN)
    run = Run("asset_triggered", "asset__1", None)
    assert world.run(send(audience=audience), run)["campaign_key"] == "sms/send/asset__1"
    assert world.run(send(audience=audience), run.again())["already"] == 1
    assert world.run(send(audience=audience), Run("asset_triggered", "asset__2", None))["accepted"] == 1


# -- backfills and dry runs --------------------------------------------------------------------------


def test_a_backfill_sends_nothing_unless_told_to(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The default skips everybody, asks Vibes nothing, keeps nothing, and says so."""
    world.join(ANN)
    before = len(world.requests())
    report = world.run(send(audience=world.audience(ANN)), BACKFILL)
    assert (report["skipped"], report["rows"], report["attempted"]) == ({"backfill": 1}, 1, 0)
    assert [row["reason"] for row in world.rows()] == ["backfill"]
    assert len(world.requests()) == before
    assert not (world.folder / "home" / "sms_flow" / "ledger.db").exists()
    assert "nobody is reached" in caplog.text + "".join(capfd.readouterr())


def test_a_backfill_that_may_send_sends_once_per_interval_and_says_what_it_does(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A smart list has no past: the log says before sending that it is the audience of now."""
    world.join(ANN)
    audience = world.audience(ANN)
    for day in (0, 1, 1):
        run = Run("backfill", f"backfill__{day}", MONDAY + timedelta(days=day))
        world.run(send(audience=audience, on_backfill="send"), run)
    assert world.texts(ANN) == ["Sale!", "Sale!"]
    assert "not as of the interval" in caplog.text + "".join(capfd.readouterr())


def test_a_dry_run_only_reads(empty_world: World) -> None:
    """Nothing but GETs, no campaign, no ledger; everybody is skipped, and what can be checked is checked."""
    world = empty_world
    world.join(ANN)
    report = world.run(send(audience=world.audience(ANN, BOB), dry_run=True))
    assert (report["skipped"], report["rows"]) == ({"dry_run": 2}, 2)
    assert {one["method"] for one in world.requests()} == {"GET"}
    assert world.campaigns() == []
    assert not (world.folder / "home" / "sms_flow" / "ledger.db").exists()
    with pytest.raises(AirflowFailException, match="list_id='9999'"):
        world.run(send(audience=world.audience(ANN), dry_run=True, list_id="9999"))


def test_a_dry_run_shares_the_rate_limit_with_who_sends_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its few calls come out of the same slots, so that no sliding second exceeds the limit as the vendor
    counts; of the ledger it takes nothing else."""
    for name, connection in airflow_connections(world.caller.sandbox.url, calls_per_second="10").items():
        monkeypatch.setenv(name, connection)
    world.caller.panel("POST", "settings", json={"vibes_others_per_second": 10})
    time.sleep(1.1)  # what made this world counts no more
    stop = threading.Event()

    def look_up_all_the_time(client: VibesClient) -> None:
        with suppress(Stopped):
            while True:
                client.find_subscriber(NEWS, mdn=ANN)

    with closing(open_ledger()) as ledger:
        with VibesHook().sharing_client(ledger, stop=stop.is_set) as client:
            other = threading.Thread(target=look_up_all_the_time, args=(client,), daemon=True)
            other.start()
            time.sleep(1.5)  # its window is full
            report = world.run(send(audience=world.audience(ANN), dry_run=True))
            stop.set()
            other.join(10)
            assert not other.is_alive()
        assert report["skipped"] == {"dry_run": 1}
        assert ledger.campaigns(report["campaign_key"]) == []
    rings = world.caller.panel("GET", "stats")["rings"]
    highest = {name: ring["highest_in_any_window"] for name, ring in rings.items() if "others" in name}
    assert highest
    assert max(highest.values()) <= 10


@pytest.mark.parametrize(
    ("typed", "texts"), [("True", []), ("true", []), ("False", ["Sale!"]), (False, ["Sale!"])]
)
def test_a_dry_run_may_come_as_text_from_a_form(world: World, typed: object, texts: list[str]) -> None:
    """Jinja makes text of a Param."""
    world.join(ANN)
    world.run(send(audience=world.audience(ANN), dry_run="{{ params.dry }}"), params={"dry": typed})
    assert world.texts(ANN) == texts


@pytest.mark.parametrize("typed", ["yes", "1", "", "None"])
def test_anything_but_true_or_false_is_no_dry_run_and_no_send(world: World, typed: str) -> None:
    """A "no" that is taken for a "yes" would text people."""
    world.join(ANN)
    before = len(world.requests())
    with pytest.raises(AirflowFailException, match=r"dry_run=.*true or false"):
        world.run(send(audience=world.audience(ANN), dry_run="{{ params.dry }}"), params={"dry": typed})
    assert len(world.requests()) == before
