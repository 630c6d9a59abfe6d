"""Lists that need no call per person, and the opt-outs that are heard while such a list is being sent to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_sms_flow.core.facts import Left
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.membership import Snapshot
from airflow_sms_flow.steps.membership_sources import from_extract, from_mirror
from tests.ledger.callbacks import COMPANY, LIST, at, hear, joined, left, raw
from tests.ledger.moves import A, B

DAY = timedelta(days=1)


def mirror(ledger: Ledger) -> Snapshot:
    """Ann's and Bob's list, synced a moment ago."""
    hear(ledger, joined(A, 1), joined(B, 1))
    ledger.record_sync(COMPANY, LIST, at(2), 2)
    return from_mirror(COMPANY, LIST, DAY, ledger)


def extract(ledger: Ledger, folder: Path) -> Snapshot:
    """The same list as yesterday's file has it."""
    yesterday = datetime.now(UTC) - DAY
    path = folder / f"current_subscribers_{COMPANY}_{yesterday:%Y-%m-%d}.tsv"
    rows = [f"{phone}\t{LIST}" for phone in (A, B)]
    path.write_text("\n".join(["mdn_e164_format\tsubscription_list_id", *rows]) + "\n")
    return from_extract(str(path), COMPANY, LIST, 3 * DAY, ledger)


def texted(members: Snapshot) -> list[str]:
    """Who of the two."""
    return [phone for phone in (A, B) if members.refusal(phone) is None]


def test_an_opt_out_heard_during_the_send_is_refused_however_long_ago_it_happened(ledger: Ledger) -> None:
    """Vibes repeats callbacks for hours after an outage: the mirror was read without them."""
    members = mirror(ledger)
    hear(ledger, left(A, 3))
    assert texted(members) == [B]


def test_a_sync_during_the_send_takes_people_off_it(ledger: Ledger) -> None:
    """It notes who left without a word at the moment of its file, half a day ago."""
    members = mirror(ledger)
    ledger.note_membership(COMPANY, LIST, [Left(LIST, A, at(3), "not_in_extract")], "extract")
    assert texted(members) == [B]


def test_nobody_is_texted_while_their_opt_out_waits_in_the_inbox(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage more may have come in than is heard in one go."""
    members, hear_some = mirror(ledger), Ledger.hear
    monkeypatch.setattr(Ledger, "hear", lambda ledger, limit: hear_some(ledger, 1))
    ledger.store_callbacks([raw(joined(B, 3)), raw(left(A, 119))])
    assert texted(members) == [B]


def test_who_left_before_the_file_was_made_has_come_back(ledger: Ledger, tmp_path: Path) -> None:
    """Also where we hear of their leaving only now; not so who left after it."""
    members = extract(ledger, tmp_path)
    hear(ledger, left(A, -3 * 24 * 60), left(B, 1))
    assert texted(members) == [A]
