"""The command line, run as people run it: in a process of its own, and within this one for the details."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from airflow_sms_flow.__main__ import main
from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.schema import deliveries, history
from tests.ledger.callbacks import DELIVERED, event, hear, joined, left, raw
from tests.ledger.moves import A, B, C, Sender, claim, settle

WELCOME = Campaign("acme", "once:welcome", StepName.SEND, "1201")
IN_DOUBT, ACCEPTED, OPEN = DeliveryState.IN_DOUBT, DeliveryState.ACCEPTED, DeliveryState.OPEN


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AIRFLOW_HOME of its own, without any setting."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    for name in ("LEDGER_CONN_ID", "STORAGE", "KEEP_FILES_DAYS"):
        monkeypatch.setenv(f"AIRFLOW__SMS_FLOW__{name}", "")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_sms_flow.__main__.logging.disable", lambda level: None)
    return tmp_path


@pytest.fixture
def sender(home: Path) -> Sender:
    """Somebody got the welcome, somebody's answer was lost."""
    one = Sender(Ledger.open(address(home)), WELCOME)
    one.write(claim(A, "1"), settle(A, ACCEPTED, "1", "accepted"))
    one.write(claim(B, "2"), settle(B, IN_DOUBT, "2", "no_answer"))
    return one


def address(home: Path) -> str:
    """Where the command line finds its ledger by default."""
    return f"sqlite:///{home}/sms_flow/ledger.db"


Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command that must succeed; what it prints."""

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def test_the_readmes_commands_run_in_a_process_of_their_own(home: Path, sender: Sender) -> None:
    """And print their answer alone, without Airflow's own start-up lines."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "airflow_sms_flow", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ}, timeout=120, check=True
        )
        assert done.stderr == ""
        return done.stdout

    assert "1     once:welcome  send  1201  acme" in run("in-doubt")
    assert run("settle", "once:welcome", "--as", "not-sent").startswith("1 row settled as not-sent")
    assert "open" in run("history", "+1 202 555 0143")
    assert "0 files older than 30 days deleted" in run("clean")
    assert sender.state(B) is OPEN


def test_the_history_of_a_number_in_any_format(say: Say, sender: Sender) -> None:
    """When, what, under which key, from where to where, why, and by which task."""
    table = say("history", "(202) 555-0132")
    assert table == say("history", "2025550132", "--region", "us") == say("history", A)
    assert table.startswith(f"{A}, times in UTC:\nwhen ")
    lines = table.splitlines()[2:]
    assert [line.split("  ")[1:2] for line in lines] == [["send"], ["send"]]
    assert "nothing -> claimed" in lines[0]
    assert "claimed -> accepted" in lines[1]
    assert all("once:welcome" in line and line.endswith("dag/send, run, 1") for line in lines)


def test_a_number_that_nobody_ever_reached(say: Say, sender: Sender) -> None:
    """An answer, not an error."""
    assert say("history", "+1 202 555 0154") == "Nothing is known of +12025550154.\n"


@pytest.mark.parametrize(("typed", "region"), [("12345", "US"), ("hello", "US"), ("2025550132", "XX")])
def test_what_is_no_number_is_refused(say: Say, typed: str, region: str) -> None:
    """With what to type instead."""
    assert "error: " in say("history", typed, "--region", region, code=1)


def test_what_is_in_doubt_is_counted_without_numbers(say: Say, sender: Sender) -> None:
    """By campaign key, with the command that settles it; or a word that there is nothing."""
    told = say("in-doubt")
    assert "once:welcome" in told
    assert "settle" in told
    assert "555" not in told
    say("settle", "once:welcome", "--as", "sent")
    assert say("in-doubt") == "Nothing is in doubt.\n"


def test_the_report_of_a_campaign_in_numbers(say: Say, sender: Sender) -> None:
    """What was told of it until now, heard or not; as a whole, and by when Vibes took the texts."""
    delivered = event(WELCOME.event_id(A), DELIVERED, 1)
    sender.ledger.store_callbacks([raw(delivered)])
    head, row = say("report", "once:welcome").splitlines()
    assert head.split()[:4] == ["company", "list", "sent", "delivered"]
    assert row.split() == ["acme", "1201", "1", "1", "100.0%", "0", "0.0%", "0", "0.0%", "0", "0"]
    head, row = say("report", "once:welcome", "--every", "1d").splitlines()
    assert "from, in UTC" in head
    assert row.split()[2:5] == [f"{datetime.now(UTC):%Y-%m-%d}", "00:00:00", "1"]


@pytest.mark.parametrize("every", ["0h", "1w", "hour", "-1h", "1.5h", ""])
def test_a_report_over_times_that_are_none(say: Say, sender: Sender, every: str) -> None:
    """With what to type instead."""
    assert "1h" in say("report", "once:welcome", f"--every={every}", code=1)


def test_a_report_of_a_key_that_nobody_used(say: Say, sender: Sender) -> None:
    """An error: a slip of the pen would look like nothing sent."""
    assert "knows no text" in say("report", "once:welcom", code=1)


def test_settling_says_how_many_and_who_said_so(say: Say, sender: Sender) -> None:
    """The user of the system, unless another name is given; it stands in the history."""
    sender.write(claim(C, "3"), settle(C, IN_DOUBT, "3"))
    told = say("settle", "once:welcome", "--as", "sent", "--phone", "202 555 0143", "--by", "kim")
    assert told == "1 row settled as sent: send on list 1201 of acme.\n"
    assert (sender.state(C), sender.state(B)) == (IN_DOUBT, ACCEPTED)
    assert "settled as sent by kim" in say("history", B)
    assert "The next try of the task reaches them." in say("settle", "once:welcome", "--as", "not-sent")
    assert say("settle", "once:welcome", "--as", "sent").startswith("0 rows settled as sent")


def test_a_campaign_key_that_nobody_used_is_an_error(say: Say, sender: Sender) -> None:
    """A slip of the pen must not look like a success."""
    assert "no campaign key 'once:wellcome'" in say("settle", "once:wellcome", "--as", "sent", code=1)


def test_the_history_shows_what_callbacks_told(say: Say, sender: Sender) -> None:
    """Also of somebody to whom nothing was sent."""
    hear(sender.ledger, joined(A, 1), left(C, 2))
    whole = say("history", A)
    assert whole.index("once:welcome") < whole.index("Heard of this number:") < whole.index("subscribed")
    other = say("history", C)
    assert "once:welcome" not in other
    assert "user_opt_out" in other


def test_cleaning_deletes_old_files_and_old_history_and_keeps_the_rows(
    say: Say, sender: Sender, home: Path
) -> None:
    """The rows are what keeps people from a second text: they go only where somebody says so."""
    old = home / "sms_flow" / "files" / "dag" / "run" / "task" / "leads.parquet"
    old.parent.mkdir(parents=True)
    old.touch()
    long_ago = datetime.now(UTC) - timedelta(days=500)
    os.utime(old, (long_ago.timestamp(), long_ago.timestamp()))
    engine = database.create_ledger_engine(address(home))
    with engine.begin() as connection:
        connection.execute(update(history).values(at=long_ago))
        connection.execute(update(deliveries).values(updated_at=long_ago))
    engine.dispose()
    sender.write(claim("+12025550154", "4"))
    told = say("clean")
    assert told.splitlines() == [
        f"1 files older than 30 days deleted from {home}/sms_flow/files",
        "4 moves, callbacks and changes deleted that were older than 400 days",
    ]
    assert not old.exists()
    assert sender.state(A) is ACCEPTED
    told = say("clean", "--rows-days", "30", "--history-days", "30")
    assert "0 rows older than 30 days deleted" in told
    assert (sender.state(A), sender.state(B)) == (ACCEPTED, IN_DOUBT), "once: is for ever"


@pytest.mark.parametrize("option", ["--files-days=0", "--history-days=-1", "--rows-days=29"])
def test_days_that_would_delete_too_much_are_refused(say: Say, option: str) -> None:
    """Before anything is deleted."""
    assert option.split("=")[0] in say("clean", option, code=1)


@pytest.mark.parametrize(
    ("options", "kept"), [(["--rows-days=399"], 400), (["--rows-days=60", "--history-days=90"], 90)]
)
def test_rows_are_not_forgotten_before_their_history(
    say: Say, sender: Sender, home: Path, options: list[str], kept: int
) -> None:
    """They guard against sending twice; the error says which two numbers fit, also beside the default."""
    old = Sender(sender.ledger, replace(WELCOME, campaign_key="summer"))
    old.write(claim(A, "1"), settle(A, ACCEPTED, "1", "accepted"))
    engine = database.create_ledger_engine(address(home))
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(updated_at=datetime.now(UTC) - timedelta(days=500)))
    told = say("clean", *options, code=1)
    assert "--rows-days" in told
    assert f"at least {kept}, or --history-days" in told
    assert old.state(A) is ACCEPTED
    assert "1 rows older than 400 days deleted" in say("clean", "--rows-days", "400")
    engine.dispose()


def test_a_ledger_that_other_machines_would_not_see_is_refused(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer would come from an empty file beside the real ledger."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    assert "ledger_conn_id" in say("in-doubt", code=1)
