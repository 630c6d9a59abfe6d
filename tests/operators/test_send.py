"""Send SMS Message: only members, once, exactly the text, and everybody accounted for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_sms_flow import SmsMessage, storage
from airflow_sms_flow.core.errors import InvalidInput, Stopped, Unfinished
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.sandbox import Sandbox
from tests.operators.world import (
    ANN,
    BOB,
    CYD,
    DEE,
    MONDAY,
    NEWS,
    OUR_EVENT_TYPE,
    QuickSend,
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


# -- the message's forms -----------------------------------------------------------------------------


def test_a_message_may_lie_in_a_file_beside_the_dag(world: World, tmp_path: Path) -> None:
    """A .sms file keeps Marketo's tokens, for it is not run through Jinja."""
    world.join(ANN)
    (tmp_path / "summer.sms").write_text("Hi {{lead.First Name:default=there}}\n")
    operator = send(audience=world.audience(ANN, firstName=["Ann"]), message="summer.sms")
    operator.dag = DAG("sms", schedule=None, template_searchpath=str(tmp_path))
    world.run(operator)
    assert world.texts(ANN) == ["Hi Ann"]


def test_a_message_file_that_is_not_there_is_named(world: World) -> None:
    """Before anything is sent."""
    with pytest.raises(AirflowFailException, match=r"message='summer.sms': no such file"):
        world.run(send(audience=world.audience(ANN), message="summer.sms"))


def test_a_plain_text_is_a_template_of_airflow(world: World) -> None:
    """`ds` and `params` work in it."""
    world.join(ANN)
    world.run(send(audience=world.audience(ANN), message="Only {{ params.day }}!"), params={"day": "today"})
    assert world.texts(ANN) == ["Only today!"]


def test_a_param_may_hold_marketos_tokens(world: World) -> None:
    """What a form brings in is not evaluated a second time by Jinja, but its tokens are rendered."""
    world.join(ANN)
    operator = send(audience=world.audience(ANN, firstName=["Ann"]), message="{{ params.text }}")
    world.run(operator, params={"text": "Hi {{lead.firstName}}"})
    assert world.texts(ANN) == ["Hi Ann"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"message": "Hi {{lead.First Name}}"}, "message"),
        ({"message": "Hi {{ my.offer }}"}, "message"),
        ({"message": "  "}, "message"),
        ({"message": None}, "message"),
        ({"list_id": ""}, "list_id"),
        ({"list_id": None}, "list_id"),
        ({"campaign_key": " x"}, "campaign_key"),
        ({"campaign_key": "once:"}, "campaign_key"),
        ({"on_backfill": "maybe"}, "on_backfill"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"on_in_doubt": "drop"}, "on_in_doubt"),
        ({"membership": "none"}, "membership"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_refused_there(parameters: dict[str, Any], field: str) -> None:
    """At parse, by field."""
    with pytest.raises(InvalidInput) as caught:
        send(audience="a.parquet", **parameters)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("parameters", "params", "words"),
    [
        ({"list_id": "{{ params.x }}"}, {"x": None}, "list_id='None'"),
        ({"message": "{{ params.x }}"}, {"x": ""}, "message=''"),
        ({"message": "{{ params.x }}"}, {"x": "{{lead.Favourite Colour}}"}, "Favourite Colour"),
        ({"message": SmsMessage("{{lead.First Nam}}")}, {}, "did you mean"),
        ({"campaign_key": "{{ params.x }}"}, {"x": ""}, "campaign_key"),
        ({"on_backfill": "{{ params.x }}"}, {"x": "never"}, "on_backfill='never'"),
        ({"vibes_conn_id": "nowhere"}, {}, "nowhere"),
        ({"list_id": "9999"}, {}, "list_id='9999'"),
    ],
)
def test_what_is_wrong_in_a_form_fails_at_once_before_anybody_is_texted(
    world: World, parameters: dict[str, Any], params: dict[str, Any], words: str
) -> None:
    """Field, value, remedy; without a retry, which could not help."""
    world.join(ANN)
    with pytest.raises(AirflowFailException, match=words):
        world.run(send(audience=world.audience(ANN, firstName=["Ann"]), **parameters), params=params)
    assert world.caller.effects("event_accepted") == []


# -- the audience ------------------------------------------------------------------------------------


def _prepared(table: pa.Table, world: World) -> str:
    return world.file(table, metadata={storage.PREPARED_KEY: AudienceRules().to_json()})


@pytest.mark.parametrize(
    ("columns", "prepared", "words"),
    [
        ({"id": [1], "phone": [ANN]}, False, "was not prepared"),
        ({"id": [1, 2], "phone": [ANN, ANN]}, True, "1 repeat a number"),
        ({"id": [1], "phone": ["202-555-0111"]}, True, "1 rows lack an id or a number in E.164"),
        ({"id": [1, 2], "phone": [ANN, None]}, True, "1 rows lack"),
        ({"id": [1]}, True, "has no column phone"),
        ({"phone": [ANN]}, True, "has no column id"),
    ],
)
def test_an_audience_that_must_not_be_texted_is_refused_before_any_request(
    world: World, columns: dict[str, Iterable[object]], prepared: bool, words: str
) -> None:
    """And no word of what stands in it."""
    before = len(world.requests())
    table = pa.table(dict(columns))
    path = _prepared(table, world) if prepared else world.file(table)
    with pytest.raises(AirflowFailException, match=words) as caught:
        world.run(send(audience=path))
    assert "0111" not in str(caught.value)
    assert len(world.requests()) == before


@pytest.mark.parametrize("audience", ["/nowhere/audience.parquet", "", {"rows": 1}, "{'path': 'x'}", None])
def test_an_audience_that_is_none_is_named(world: World, audience: object) -> None:
    """A missing file, an empty XCom, a reference that Jinja turned into text."""
    with pytest.raises(AirflowFailException, match="audience="):
        world.run(send(audience=audience))


def test_an_empty_audience_is_a_success(world: World) -> None:
    """Nobody to text is no fault."""
    empty = pa.table({"id": pa.array([], pa.int64()), "phone": pa.array([], pa.string())})
    report = world.run(send(audience=_prepared(empty, world)))
    assert (report["rows"], report["accepted"]) == (0, 0)
    assert world.rows() == []


def test_the_reference_that_a_task_pushed_is_an_audience(world: World) -> None:
    """`prepare.output` resolves to it."""
    world.join(ANN)
    assert world.run(send(audience={"path": world.audience(ANN), "rows": 1, "funnel": {}}))["accepted"] == 1


# -- the account -------------------------------------------------------------------------------------


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


# -- faults ------------------------------------------------------------------------------------------


def test_wrong_credentials_fail_at_once(world: World) -> None:
    """401 is about the account: no retry, one sentence about what to change, nobody refused for it."""
    world.join(ANN)
    world.fault("status", vendor="vibes", status=401)
    with pytest.raises(AirflowFailException, match="check login, password"):
        world.run(send(audience=world.audience(ANN)))


def test_credentials_that_end_amid_the_sends_leave_everybody_open(world: World) -> None:
    """401 to an event ends the task; once mended, the next try texts everybody, once."""
    world.join(ANN, BOB, CYD)
    audience = world.audience(ANN, BOB, CYD)
    world.fault("status", path="*/events", status=401)
    with pytest.raises(AirflowFailException, match="check login, password"):
        world.run(send(audience=audience, concurrency=1))
    assert world.caller.effects("event_accepted") == []
    world.all_well()
    assert world.run(send(audience=audience), Run().again())["accepted"] == 3


@pytest.mark.parametrize(
    "fault", [{"kind": "reset_after"}, {"kind": "garbage"}, {"kind": "status", "status": 500}]
)
def test_a_lost_answer_is_held_listed_and_never_repeated_by_itself(
    world: World, fault: dict[str, Any]
) -> None:
    """The text may have been sent: the task succeeds, the row waits for somebody to settle it."""
    world.join(ANN, BOB)
    audience = world.audience(ANN, BOB)
    world.fault(**fault, path="*/events", count=1)
    report = world.run(send(audience=audience, concurrency=1))
    assert (report["in_doubt"], report["accepted"], report["failed"]) == (1, 1, 0)
    assert [row["state"] for row in world.rows()] == ["in_doubt", "accepted"]
    report = world.run(send(audience=audience), Run().again())
    assert (report["in_doubt"], report["already"], report["attempted"]) == (1, 1, 0)
    assert len(world.texts(ANN)) <= 1


def test_an_event_without_an_answer_in_time_is_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a time-out after the request left."""
    world.join(ANN)
    client = VibesHook.client
    monkeypatch.setattr(VibesHook, "client", lambda hook, **more: client(hook, timeout=(1.0, 0.3), **more))
    world.fault("timeout_after", path="*/events", count=1, seconds=1)
    report = world.run(send(audience=world.audience(ANN)))
    assert report["in_doubt"] == 1
    assert world.texts(ANN) == ["Sale!"]


def test_resend_repeats_what_is_in_doubt_with_the_same_event_id(world: World) -> None:
    """For those who would rather be read twice than not at all; Vibes may tell by the id."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.fault("reset_after", path="*/events", count=1)
    report = world.run(send(audience=audience, on_in_doubt="resend", kind=QuickSend))
    assert (report["accepted"], report["in_doubt"]) == (1, 0)
    ids = [one["event_id"] for one in world.caller.effects("event_accepted")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_resend_in_a_later_try_takes_what_was_held(world: World) -> None:
    """The author may change their mind after the fact."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.fault("reset_after", path="*/events", count=1)
    assert world.run(send(audience=audience))["in_doubt"] == 1
    assert world.run(send(audience=audience, on_in_doubt="resend"), Run().again())["accepted"] == 1


def test_a_storm_leaves_people_open_and_the_next_try_completes(world: World) -> None:
    """503 in the vendor's envelope did not happen: the task fails for Airflow to retry, nobody is lost."""
    world.join(ANN, BOB, CYD)
    audience = world.audience(ANN, BOB, CYD)
    world.fault("status", path="*/events", status=503)
    with pytest.raises(Unfinished, match="3 of 3"):
        world.run(send(audience=audience, kind=QuickSend))
    assert [row["state"] for row in world.rows()] == ["open"] * 3
    assert world.caller.effects("event_accepted") == []
    world.all_well()
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["failed"]) == (3, 0)
    assert [world.texts(phone) for phone in (ANN, BOB, CYD)] == [["Sale!"]] * 3


def test_a_storm_of_lookups_texts_nobody_unseen(world: World) -> None:
    """Who cannot be looked up is not texted: the row stays open."""
    world.join(ANN)
    world.fault("status", path="*/subscribers", status=500)
    with pytest.raises(Unfinished):
        world.run(send(audience=world.audience(ANN), kind=QuickSend))
    assert world.caller.effects("event_accepted") == []


def test_somebody_the_vendor_refuses_does_not_fail_the_task(world: World) -> None:
    """422 is about that person, unless the first twenty answers all say so."""
    world.join(ANN, BOB)
    world.fault("status", path="*/events", status=422, count=1, body="echo")
    report = world.run(send(audience=world.audience(ANN, BOB), concurrency=1))
    assert (report["refused"], report["accepted"]) == ({"unprocessable": 1}, 1)


def test_when_everybody_is_refused_it_is_our_request_that_is_wrong(world: World) -> None:
    """The first twenty answers all 422: a bug, told as such, and nobody counts as refused."""
    phones = [f"+120255501{n:02d}" for n in range(25)]
    world.join(*phones)
    audience = world.audience(*phones)
    world.fault("status", path="*/events", status=422)
    with pytest.raises(AirflowFailException, match="our request is wrong"):
        world.run(send(audience=audience, concurrency=1))
    world.all_well()
    assert world.run(send(audience=audience), Run().again())["accepted"] == 25


def test_a_killed_task_stops_soon_and_loses_nobody(world: World) -> None:
    """`on_kill` comes from another thread: what is under way is settled, the rest stays for the next try."""
    phones = [f"+120255501{n:02d}" for n in range(100)]
    world.join(*phones)
    audience = world.audience(*phones)
    world.fault("slow", path="*/events", seconds=0.05)
    operator = send(audience=audience, concurrency=2)
    killer = threading.Timer(0.7, operator.on_kill)
    killer.start()
    began = datetime.now(UTC)
    with pytest.raises(Stopped):
        world.run(operator)
    assert datetime.now(UTC) - began < timedelta(seconds=5)
    sent = len(world.caller.effects("event_accepted"))
    assert 0 < sent < 100
    world.all_well()
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["already"], report["in_doubt"]) == (100 - sent, sent, 0)
    assert all(len(world.texts(phone)) == 1 for phone in phones)


def test_no_number_no_name_and_no_text_is_logged(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, with resets, echoes of the request, storms: numbers are masked, the rest is not there."""
    # Too few to make it an outage, which would be waited out.
    phones = [f"+120255501{n:02d}" for n in range(8)]
    world.join(*phones)
    for rule in (
        {"kind": "reset_after", "path": "*/events", "share": 0.3},
        {"kind": "status", "path": "*/events", "status": 422, "share": 0.2, "body": "echo"},
        {"kind": "status", "path": "*/events", "status": 503, "share": 0.9, "body": "echo"},
    ):
        world.fault(**rule)
    message = SmsMessage("Secret offer for {{lead.firstName}}")
    with caplog.at_level("DEBUG"), pytest.raises(Unfinished):
        world.run(
            send(
                audience=world.audience(*phones, firstName=["Wilhelmina"] * 8),
                message=message,
                kind=QuickSend,
            )
        )
    said = caplog.text + "".join(capfd.readouterr())
    assert "*01" in said
    assert not re.search(r"20255501\d\d|Wilhelmina|Secret offer|sandbox-password", said)
