"""Several files of leads become one audience, the same in whatever pieces and order they come."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow import preparation, progress, storage
from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import NumberLists
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.core.rules import AudienceRules, NumberFile
from airflow_sms_flow.core.shards import shard_numbers
from airflow_sms_flow.preparation import PreparedFiles

PLAIN = AudienceRules(suppress=())
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("mobilePhone", pa.string()),
        ("phone", pa.string()),
        ("country", pa.string()),
        ("blackListed", pa.bool_()),
        ("score", pa.string()),
        ("name", pa.string()),
    ]
)
PHONES = st.sampled_from([None, "", "N/A", *(f"202-555-01{n:02}" for n in range(6)), "+1 202 555 0101"])
ROW = st.fixed_dictionaries(
    {
        "id": st.integers(1, 12),
        "mobilePhone": PHONES,
        "phone": PHONES,
        "country": st.sampled_from([None, "US", "United Kingdom"]),
        "blackListed": st.sampled_from([None, False, False, True]),
        "score": st.sampled_from([None, "1", "10", "high"]),
        "name": st.sampled_from([None, "Ann", "Bo"]),
    }
)
RULES = st.builds(
    AudienceRules,
    phone_fields=st.just(("mobilePhone", "phone")),
    suppress=st.just(("blackListed",)),
    suppress_scope=st.sampled_from(["number", "lead"]),
    keep=st.sampled_from(["lowest_id", "score"]),
    where=st.sampled_from([(), read_conditions([("country", "=", "US")])]),
    deny_list=st.just(NumberFile("deny.txt")),
    holdout=st.sampled_from([0.0, 0.4]),
)
LISTS = NumberLists(deny=PhoneSet.of(["+12025550105"]))


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, group: int = 1000) -> str:
    """An extracted file."""
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=group)
    return str(path)


def prepare(paths: list[str], folder: Path, rules: AudienceRules = PLAIN, **more: Any) -> PreparedFiles:
    """Without lists."""
    return preparation.prepare_files(paths, rules, NumberLists(), str(folder), **more)


def rows_of(*paths: str) -> list[dict[str, Any]]:
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def told(rows: Iterable[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """All cells of all rows, in no order."""
    return Counter(tuple(sorted(row.items())) for row in rows)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(ROW, max_size=30),
    rules=RULES,
    cuts=st.lists(st.integers(0, 30), max_size=2),
    group=st.integers(1, 30),
    at_once=st.integers(1, 30),
    shards=st.integers(1, 4),
    random=st.randoms(use_true_random=False),
)
def test_order_files_row_groups_and_shards_change_nothing(
    rows: list[dict[str, Any]],
    rules: AudienceRules,
    cuts: list[int],
    group: int,
    at_once: int,
    shards: int,
    random: Any,
) -> None:
    """The same rows are kept, cell by cell, and the same are rejected for the same reasons."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        paths = [write(folder / "leads.parquet", rows)]
        first = preparation.prepare_files(paths, rules, LISTS, str(folder / "first"))
        patch.setattr(preparation, "_NARROW_ROWS", at_once)
        patch.setattr(preparation, "_WIDE_ROWS", at_once)
        random.shuffle(rows)
        bounds = [0, *sorted(cuts), len(rows)]
        parts = [rows[start:end] for start, end in pairwise(bounds)]
        paths = [write(folder / f"{n}.parquet", part, group=group) for n, part in enumerate(parts)]
        again = preparation.prepare_files(paths, rules, LISTS, str(folder / "again"), shards=shards)
        assert again.funnel == first.funnel
        for one in (first, again):
            assert sum(file.rows for file in one.audiences) == one.funnel.kept
            assert one.rejected.rows == one.funnel.extracted - one.funnel.kept
        assert told(rows_of(again.rejected.path)) == told(rows_of(first.rejected.path))
        kept = [[file.path for file in one.audiences] for one in (first, again)]
        assert told(rows_of(*kept[1])) == told(rows_of(*kept[0]))
        for path in kept[0] + kept[1]:
            storage.check_prepared(path)


def test_each_number_is_in_the_file_of_its_shard(tmp_path: Path) -> None:
    """Also the shards that nobody is in have a file."""
    leads = [{"id": n, "mobilePhone": f"202-555-01{n}"} for n in range(10, 14)]
    done = prepare([write(tmp_path / "leads.parquet", leads)], tmp_path / "out", shards=12)
    assert [Path(file.path).name for file in done.audiences][:2] == [
        "audience-00.parquet",
        "audience-01.parquet",
    ]
    assert len(done.audiences) == 12
    for shard, file in enumerate(done.audiences):
        phones = [row["phone"] for row in rows_of(file.path)]
        assert len(phones) == file.rows
        assert set(shard_numbers(np.array([int(phone[1:]) for phone in phones], np.int64), 12)) <= {shard}
    assert sum(file.rows for file in done.audiences) == 4


def test_a_lead_or_a_number_in_two_files_counts_once(tmp_path: Path) -> None:
    """And a lead that one of the files says is blocklisted is so in both."""
    one = write(
        tmp_path / "1.parquet",
        [
            {"id": 1, "mobilePhone": "202-555-0101", "blackListed": True},
            {"id": 2, "mobilePhone": "202-555-0102"},
        ],
    )
    other = write(
        tmp_path / "2.parquet",
        [
            {"id": 1, "mobilePhone": "202-555-0103"},
            {"id": 2, "mobilePhone": "202-555-0104"},
            {"id": 3, "mobilePhone": "202-555-0102"},
        ],
    )
    done = prepare([one, other], tmp_path / "out", AudienceRules(suppress=("blackListed",)))
    assert [(row["id"], row["phone"]) for row in rows_of(done.audiences[0].path)] == [(2, "+12025550102")]
    assert Counter(row["reason"] for row in rows_of(done.rejected.path)) == {"suppressed": 2, "duplicate": 2}


def test_what_a_file_lacks_is_missing_unless_a_rule_needs_it(tmp_path: Path) -> None:
    """Exports with different fields go together, but nobody is unsuppressed by a field that was left out."""
    short = pa.schema([("id", pa.int64()), ("mobilePhone", pa.string()), ("points", pa.int64())])
    paths = [
        write(tmp_path / "1.parquet", [{"id": 1, "mobilePhone": "202-555-0101", "name": "Ann"}]),
        write(tmp_path / "2.parquet", [{"id": 2, "mobilePhone": "202-555-0102", "points": 5}], short),
    ]
    done = prepare(paths, tmp_path / "out")
    found = {row["id"]: (row["name"], row["points"]) for row in rows_of(done.audiences[0].path)}
    assert found == {1: ("Ann", None), 2: (None, 5)}
    with pytest.raises(InvalidInput, match="suppress='blackListed'"):
        prepare(paths, tmp_path / "out", AudienceRules(suppress=("blackListed",)))


def test_files_whose_types_differ_do_not_go_together(tmp_path: Path) -> None:
    """The error says which column of which file; a column that is all missing fits any."""
    number = SCHEMA.set(4, pa.field("blackListed", pa.int64()))
    nothing = SCHEMA.set(4, pa.field("blackListed", pa.null()))
    lead = {"id": 1, "mobilePhone": "202-555-0101"}
    first, odd, empty = (
        write(tmp_path / f"{n}.parquet", [lead | {"id": n}], schema)
        for n, schema in enumerate([SCHEMA, number, nothing])
    )
    assert prepare([empty, first], tmp_path / "out").funnel.kept == 1
    assert storage.read_schema(str(tmp_path / "out/audience.parquet")).field("blackListed").type == pa.bool_()
    with pytest.raises(InvalidInput, match="has int64 in 'blackListed'") as caught:
        prepare([first, odd], tmp_path / "out")
    assert caught.value.value == odd


def test_yes_and_no_go_together_with_the_same_in_words(tmp_path: Path) -> None:
    """A query's column is text in the file where its first rows are all missing."""
    words = SCHEMA.set(4, pa.field("blackListed", pa.string()))
    lead = {"id": 1, "mobilePhone": "202-555-0101", "blackListed": True}
    other = {"id": 2, "mobilePhone": "202-555-0102", "blackListed": "yes"}
    paths = [write(tmp_path / "1.parquet", [lead], SCHEMA), write(tmp_path / "2.parquet", [other], words)]
    for some in (paths, paths[::-1]):
        done = prepare(some, tmp_path / "out", AudienceRules(suppress=("blackListed",)))
        assert done.funnel.rejected["suppressed"] == 2


def test_what_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that has the name to which another one moves."""
    monkeypatch.setattr(preparation, "judge", lambda *_: pytest.fail("hours of work came first"))
    schema = SCHEMA.append(pa.field("phone", pa.string())).append(pa.field("phone_raw", pa.string()))
    path = write(tmp_path / "leads.parquet", [{"id": 1}], schema)
    with pytest.raises(InvalidInput, match="phone_raw"):
        prepare([path], tmp_path / "out")


def test_no_file_gets_its_name_unless_all_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-written audience, or one whose rejected are lost, must not be found by anybody."""
    path = write(tmp_path / "leads.parquet", [{"id": n, "mobilePhone": f"202-555-01{n}"} for n in (10, 11)])
    whole, calls = preparation.split, []

    def fails_at_the_second(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left on device")
        return whole(*arguments)

    monkeypatch.setattr(preparation, "split", fails_at_the_second)
    monkeypatch.setattr(preparation, "_WIDE_ROWS", 1)
    with pytest.raises(OSError, match="no space left"):
        prepare([path], tmp_path / "out", shards=2)
    assert list((tmp_path / "out").iterdir()) == []


def test_display_names_of_all_files_are_known(tmp_path: Path) -> None:
    """A text may name a field that only one of the exports has."""
    paths = [f"{tmp_path}/{name}.parquet" for name in ("name", "country")]
    for path, field in zip(paths, ("name", "country"), strict=True):
        lead = pa.table({"id": [1], "mobilePhone": ["202-555-0101"], field: ["x"]})
        names = {storage.DISPLAY_NAMES_KEY: f'{{"The {field}": "{field}"}}'}
        storage.write_parquet(path, [lead], metadata=names)
    info = storage.check_prepared(prepare(paths, tmp_path / "out").audiences[0].path)
    assert info.display_names == {"The name": "name", "The country": "country"}


def test_labels_of_the_caller_travel_along(tmp_path: Path) -> None:
    """In all files; only the audiences say that they were prepared, so that nobody sends to the rejected."""
    path = write(tmp_path / "leads.parquet", [{"id": 1, "mobilePhone": "202-555-0101"}])
    done = prepare([path], tmp_path / "out", shards=2, metadata={"sms_flow.piece": "7"})
    labels = [storage.read_metadata(file.path) for file in (*done.audiences, done.rejected)]
    assert [one["sms_flow.piece"] for one in labels] == ["7"] * 3
    assert [storage.PREPARED_KEY in one for one in labels] == [True, True, False]


def test_progress_is_told_in_numbers_of_leads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ten seconds, while reading and while writing; a log never shows a number."""
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.0)
    path = write(tmp_path / "leads.parquet", [{"id": 1, "mobilePhone": "202-555-0101"}])
    with caplog.at_level(logging.INFO):
        prepare([path], tmp_path / "out")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(", ")[0] for line in lines] == [
        "Reading: 1 of 1 leads", "Reading all columns: 1 of 1 leads",
    ]  # fmt: skip
    assert "555" not in caplog.text
