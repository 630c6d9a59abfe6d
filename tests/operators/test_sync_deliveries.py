"""The vendor's daily file of messages tells what callbacks missed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.operators import SyncDeliveriesOperator
from tests.extracts.test_messages import COLUMNS
from tests.ledger.callbacks import DELIVERED, event, hear
from tests.ledger.moves import Sender, claim, settle
from tests.operators.world import ANN, BOB, CYD, DEE, NEWS, World, send

SUMMER = Campaign("acme", "summer", StepName.SEND, NEWS)
ACCEPTED, IN_DOUBT, REFUSED = DeliveryState.ACCEPTED, DeliveryState.IN_DOUBT, DeliveryState.REFUSED


@pytest.fixture
def ledger(world: World) -> Iterator[Ledger]:
    """The one that the operator uses."""
    with closing(open_ledger()) as opened:
        yield opened


def vibes_delivers(world: World) -> str:
    """The sandbox's own file, in a folder."""
    folder = world.folder / "out"
    folder.mkdir(exist_ok=True)
    world.caller.panel("POST", "extracts", json={"extract": "messages", "folder": str(folder)})
    return str(folder)


def written(world: World, *rows: tuple[str, str, str]) -> str:
    """A file with these (phone, our id, status), sent just now."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} +0000"
    lines = ["\t".join(COLUMNS)]
    lines += [
        "\t".join(("key", "", phone, "310", "M1", our_id, now, status, '"text"', ""))
        for phone, our_id, status in rows
    ]
    path = world.folder / f"messages_acme_{datetime.now(UTC):%Y-%m-%d}.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def sync(world: World, extract: str, **more: Any) -> dict[str, int]:
    counts: dict[str, int] = world.run(SyncDeliveriesOperator(task_id="sync", extract=extract, **more))
    return counts


def counts(**some: int) -> dict[str, int]:
    names = ("rows", "matched", "news", "ambiguous", "unknown", "unreadable")
    return dict.fromkeys(names, 0) | some


def settled(ledger: Ledger, campaign: Campaign = SUMMER, **states: DeliveryState) -> Sender:
    """Texts to ann, bob, cyd and dee that stand so."""
    sender = Sender(ledger, campaign)
    for name, state in states.items():
        phone = {"ann": ANN, "bob": BOB, "cyd": CYD, "dee": DEE}[name]
        sender.write(claim(phone, name), settle(phone, state, name))
    return sender


@pytest.mark.parametrize("with_ids", [1.0, 0.0])
def test_what_vibes_sent_is_told_by_its_file(world: World, ledger: Ledger, with_ids: float) -> None:
    """With our ids in it and without; who bounced is told, and so is who was in doubt."""
    world.caller.panel(
        "POST", "settings", json={"share_client_message_ids": with_ids, "share_bounced_hard": 1}
    )
    world.join(ANN)
    world.run(send(audience=world.audience(ANN), campaign_key="summer"))
    world.caller.panel("POST", "settings", json={"share_bounced_hard": 0})
    world.join(BOB)
    world.fault("reset_after", path="*/events")
    world.run(send(audience=world.audience(ANN, BOB), campaign_key="summer"))
    world.all_well()
    before = ledger.delivery_report(SUMMER)
    assert before == DeliveryReport(sent=1, unknown=1)
    assert sync(world, vibes_delivers(world)) == counts(rows=2, matched=2, news=2)
    assert ledger.delivery_report(SUMMER) == DeliveryReport(sent=2, bounced_hard=1, unknown=1)
    assert sync(world, vibes_delivers(world)) == counts(rows=2, matched=2)


def test_success_settles_a_doubt_and_promises_no_delivery(world: World, ledger: Ledger) -> None:
    """The text left Vibes: it is not sent again, and its receipt may still come."""
    sender = settled(ledger, ann=IN_DOUBT, bob=IN_DOUBT)
    path = written(world, (ANN, SUMMER.event_id(ANN), "SUCCESS"), (BOB, "", "SUCCESS"))
    assert sync(world, path) == counts(rows=2, matched=2, news=2)
    assert (sender.state(ANN), sender.state(BOB)) == (ACCEPTED, ACCEPTED)
    assert ledger.delivery_report(SUMMER) == DeliveryReport(sent=2, unknown=2)


def test_what_vibes_never_sent_is_refused_late_and_what_failed_bounced(world: World, ledger: Ledger) -> None:
    """Bounces ring the bell, as if a callback had told them."""
    sender = settled(ledger, ann=ACCEPTED, bob=ACCEPTED, cyd=ACCEPTED, dee=IN_DOUBT)
    told = {ANN: "Mdn on blocked list", BOB: "Number Disconnected", CYD: "Handset Unreachable"}
    told[DEE] = "Route Not Found"
    path = written(world, *((phone, SUMMER.event_id(phone), status) for phone, status in told.items()))
    assert sync(world, path) == counts(rows=4, matched=4, news=4)
    assert ledger.delivery_report(SUMMER) == DeliveryReport(
        sent=2, bounced_soft=1, bounced_hard=1, refused_late=2
    )
    assert (sender.state(ANN), sender.state(DEE)) == (REFUSED, REFUSED)
    assert ledger.latest_change("acme", ChangeKind.BOUNCED, NEWS) > 0


def test_a_row_without_our_id_that_fits_several_texts_says_nothing(world: World, ledger: Ledger) -> None:
    """Nor do several rows that fit one text."""
    settled(ledger, ann=IN_DOUBT, bob=IN_DOUBT)
    autumn = settled(ledger, Campaign("acme", "autumn", StepName.SEND, NEWS), ann=IN_DOUBT)
    path = written(world, (ANN, "", "SUCCESS"), (BOB, "", "SUCCESS"), (BOB, "", "Capped Message"))
    assert sync(world, path) == counts(rows=3, ambiguous=3)
    assert autumn.state(ANN) is IN_DOUBT


def test_other_peoples_texts_are_not_ours(world: World, ledger: Ledger) -> None:
    """Other numbers, other programs' ids, texts to people whom we refused."""
    settled(ledger, ann=ACCEPTED, bob=REFUSED)
    path = written(
        world,
        (CYD, "", "SUCCESS"),
        (ANN, "f" * 32, "Capped Message"),
        (ANN, "their-1", "SUCCESS"),
        (BOB, "", "SUCCESS"),
    )
    assert sync(world, path) == counts(rows=4, unknown=4)
    assert ledger.delivery_report(SUMMER) == DeliveryReport(sent=1, unknown=1)


def test_a_receipt_knows_better_than_a_row_without_our_id(world: World, ledger: Ledger) -> None:
    """The row may be about another program's text."""
    settled(ledger, ann=ACCEPTED)
    hear(ledger, event(SUMMER.event_id(ANN), DELIVERED, 1))
    assert sync(world, written(world, (ANN, "", "Handset Unreachable"))) == counts(rows=1, matched=1)
    assert ledger.delivery_report(SUMMER).delivered == 1


def test_what_cannot_be_read_is_counted(world: World, ledger: Ledger) -> None:
    """No status; too many fields."""
    settled(ledger, ann=ACCEPTED)
    path = written(world, (ANN, SUMMER.event_id(ANN), ""), (ANN, "", "SUCCESS\tand\tmore"))
    assert sync(world, path) == counts(rows=2, unreadable=2)


def test_a_file_too_old_or_of_another_company_is_refused(world: World, ledger: Ledger) -> None:
    """So is a folder without one."""
    old = Path(written(world)).rename(world.folder / "messages_acme_2020-01-01.txt")
    other = Path(written(world)).rename(world.folder / "messages_globex_2026-01-01.txt")
    for path, text in (
        (old, "hours ago"),
        (other, "not of the company"),
        (world.folder / "x", "no such file"),
    ):
        with pytest.raises(AirflowFailException, match=text):
            sync(world, str(path))


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"extract": ""}, "extract"), ({"extract": None}, "extract"), ({"max_age": timedelta()}, "max_age")],
)
def test_wrong_parameters_are_refused_while_the_dag_is_parsed(parameters: dict[str, Any], field: str) -> None:
    """With field, value and remedy."""
    with pytest.raises(InvalidInput, match=field):
        SyncDeliveriesOperator(**({"task_id": "sync", "extract": "folder"} | parameters))


def test_no_number_and_no_text_in_logs(
    world: World, ledger: Ledger, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At DEBUG, also of rows that cannot be read."""
    caplog.set_level(logging.DEBUG)
    settled(ledger, ann=ACCEPTED)
    sync(world, written(world, (ANN, "", "Number Disconnected"), (BOB, "", "SUCCESS\tand\tmore")))
    printed = capfd.readouterr()
    log = caplog.text + printed.out + printed.err
    assert "matched" in log
    assert not [word for word in (ANN[2:], BOB[2:], '"text"') if word in log]
