"""The Current Subscriber Extract: which file, from when, and who stands in it."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from airflow.sdk import io

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.extracts.files import ExtractFile, find_extract
from airflow_sms_flow.extracts.subscribers import KIND, read_subscribers

NOW = datetime(2026, 3, 2, 16, tzinfo=UTC)
TODAY = "current_subscribers_CK_2026-03-02.tsv"
COLUMNS = (
    "mdn",
    "person_id",
    "external_person_id",
    "carrier_code",
    "mdn_e164_format",
    "country_code",
    "subscription_list_id",
)
ANN, BOB = "+12025550111", "+12025550112"


def written(folder: Path, name: str, *rows: tuple[str, str]) -> str:
    """An extract with these (phone, list) pairs."""
    lines = ["\t".join(COLUMNS)]
    lines += [f"{phone[2:]}\tkey-1\t\t310\t{phone}\t1\t{list_id}" for phone, list_id in rows]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def find(path: str | Path, hours: float = 36) -> ExtractFile:
    """As an operator looks for it."""
    return find_extract(str(path), KIND, "CK", max_age=timedelta(hours=hours), now=NOW)


def test_the_newest_file_of_our_company_is_taken_from_a_folder(tmp_path: Path) -> None:
    """Other companies', other kinds', older ones and what carries no date stay where they are."""
    for name in (
        "current_subscribers_CK_20260301.tsv",
        TODAY,
        "current_subscribers_OTHER_2026-03-03.tsv",
        "current_subscribers_CK_EU_2026-03-03.tsv",
        "messages_CK_2026-03-03.tsv",
        "current_subscribers_CK_.tsv",
    ):
        written(tmp_path, name)
    found = find(tmp_path)
    assert found.path.endswith(TODAY)
    assert found.as_of == datetime(2026, 3, 1, 22, tzinfo=UTC)


def test_the_older_name_without_a_company_is_understood(tmp_path: Path) -> None:
    """CURRENT_SUBSCRIBERS_YYYY-MM-DD.TXT."""
    written(tmp_path, "CURRENT_SUBSCRIBERS_2026-03-02.TXT")
    assert find(tmp_path).path.endswith(".TXT")


def test_only_the_members_of_the_list_are_read(tmp_path: Path) -> None:
    """One file holds every list; a row without a number that can be dialled is counted, not guessed."""
    path = written(tmp_path, TODAY, (ANN, "12"), (BOB, "7"), ("+x", "12"), (ANN, "12"))
    found = read_subscribers(find(path), "12")
    assert list(found.members) == [ANN]
    assert found.unreadable == 1


def test_a_stray_quotation_mark_swallows_no_row(tmp_path: Path) -> None:
    """The file quotes nothing, so a quotation mark means nothing."""
    path = tmp_path / TODAY
    path.write_text(
        "\t".join(COLUMNS) + f'\n1\tk\t"odd\t1\t{ANN}\t1\t12\n1\tk\tid\t1\t{BOB}\t1\t12\n', encoding="utf-8"
    )
    assert len(read_subscribers(find(path), "12").members) == 2


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("current_subscribers_CK_2026-02-27.tsv", "fetch a newer one"),
        ("current_subscribers_CK_2026-03-09.tsv", "is in the future"),
        ("subscribers.tsv", "must hold its date"),
        ("subscribers_2026-13-45.tsv", "must hold its date"),
        ("current_subscribers_OTHER_2026-03-02.tsv", "not of the company CK"),
        ("current_subscribers_CK_EU_2026-03-02.tsv", "not of the company CK"),
    ],
)
def test_a_file_from_the_wrong_day_or_company_is_refused(tmp_path: Path, name: str, remedy: str) -> None:
    """A stale list holds people who have left; somebody else's list holds people who never agreed."""
    path = written(tmp_path, name, (ANN, "12"))
    with pytest.raises(InvalidInput, match=remedy):
        find(path)


def test_nothing_there_is_said_at_once(tmp_path: Path) -> None:
    """A missing file, an empty folder."""
    with pytest.raises(InvalidInput, match="no such file or folder"):
        find(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="holds no file"):
        find(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mdn\tsubscription_list_id\n2025550111\t12\n",
        f"mdn_e164_format\tsubscription_list_id\n{ANN}\n",
        f"mdn_e164_format,subscription_list_id\n{ANN},12\n",
    ],
)
def test_another_kind_of_file_or_half_of_one_is_refused_without_showing_a_row(
    tmp_path: Path, text: str
) -> None:
    """Too few columns in a row is how a file that was cut short looks."""
    path = tmp_path / TODAY
    path.write_text(text)
    with pytest.raises(InvalidInput, match="not a Current Subscriber Extract") as refused:
        read_subscribers(find(path), "12")
    assert ANN[2:] not in str(refused.value)


def test_a_file_of_another_store_is_read_from_a_copy_that_is_gone_afterwards(tmp_path: Path) -> None:
    """Any address that ObjectStoragePath understands."""
    io.attach(protocol="memory", fs=fsspec.filesystem("memory"))
    written(tmp_path, TODAY, (ANN, "12"))
    fsspec.filesystem("memory").put_file(str(tmp_path / TODAY), f"/out/{TODAY}")
    before = set(Path(tempfile.gettempdir()).glob("sms_flow_*"))
    found = read_subscribers(find("memory:///out"), "12")
    assert list(found.members) == [ANN]
    assert set(Path(tempfile.gettempdir()).glob("sms_flow_*")) == before
