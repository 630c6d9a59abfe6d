"""Pieces that were prepared side by side and merged are what they would be, prepared together."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow import storage
from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.filters import NumberLists, held_out
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.core.rules import AudienceRules, NumberFile
from airflow_sms_flow.core.shards import shard_numbers
from airflow_sms_flow.merging import common_rules, merge_files
from airflow_sms_flow.preparation import PreparedFiles, prepare_files

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "mobilePhone": pa.string(),
        "phone": pa.string(),
        "country": pa.string(),
        "blackListed": pa.bool_(),
        "score": pa.string(),
    }
)
NUMBERS = st.sampled_from(
    [
        None,
        "",
        "no phone",
        "202-555-0131",
        "+1 202 555 0131",
        "202-555-0132",
        "(202) 555-0133",
        "202-555-0134",
    ]
)
LEADS = st.fixed_dictionaries(
    {
        "id": st.integers(min_value=1, max_value=6),  # one lead may stand in several rows and pieces
        "mobilePhone": NUMBERS,
        "phone": NUMBERS,
        "country": st.sampled_from([None, "US", "Canada", "Atlantis"]),
        "blackListed": st.sampled_from([None, False, False, True]),
        "score": st.sampled_from([None, "1", "2", "ten"]),
    }
)
PIECES = st.lists(st.lists(LEADS, max_size=6), min_size=1, max_size=3)
RULES = st.builds(
    AudienceRules,
    phone_fields=st.sampled_from([("mobilePhone",), ("mobilePhone", "phone"), ("phone",)]),
    suppress=st.sampled_from([("blackListed",), ()]),
    suppress_scope=st.sampled_from(["number", "lead"]),
    keep=st.sampled_from(["lowest_id", "score"]),
    where=st.sampled_from([(), read_conditions([("country", "is not missing")])]),
    deny_list=st.sampled_from([None, NumberFile("deny.txt")]),
    allow_list=st.sampled_from([None, NumberFile("allow.txt")]),
    holdout=st.sampled_from([0.0, 0.5]),
)


def lists_of(rules: AudienceRules) -> NumberLists:
    """As if the files had been read."""
    return NumberLists(
        allow=PhoneSet.of(["+12025550131", "+12025550132", "+12025550133"]) if rules.allow_list else None,
        deny=PhoneSet.of(["+12025550133"]) if rules.deny_list else None,
    )


def rows(*paths: str) -> list[dict[str, Any]]:
    """All rows of the files, in an order of their own."""
    found = [row for path in paths for batch in storage.read_batches(path) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: sorted((name, str(value)) for name, value in row.items()))


def everybody(files: PreparedFiles) -> list[dict[str, Any]]:
    """Each lead with its reason, None where kept."""
    kept = [row | {"reason": None} for row in rows(*(file.path for file in files.audiences))]
    return [*kept, *rows(files.rejected.path)]


def prepare(
    root: str, name: str, pieces: Sequence[Sequence[Any]], rules: AudienceRules, shards: int = 1
) -> Any:
    """Write the pieces as extractions, and prepare them together."""
    paths = [f"{root}/{name}-{number}.parquet" for number in range(len(pieces))]
    for path, leads in zip(paths, pieces, strict=True):
        storage.write_parquet(path, [pa.Table.from_pylist(list(leads), schema=SCHEMA)])
    return prepare_files(paths, rules, lists_of(rules), f"{root}/{name}", shards=shards)


@settings(max_examples=60, deadline=None)
@given(PIECES, RULES, st.integers(1, 4), st.integers(1, 4))
def test_merged_pieces_are_what_one_preparation_makes_of_all_of_them(
    pieces: list[list[dict[str, Any]]], rules: AudienceRules, before: int, after: int
) -> None:
    """Everybody has the same reason or none: who is suppressed in one piece is in all, and so on."""
    with TemporaryDirectory() as root:
        together = prepare(root, "together", pieces, rules)
        apart = [prepare(root, f"piece{n}", [piece], rules, before) for n, piece in enumerate(pieces)]
        audiences = [file.path for files in apart for file in files.audiences]
        assert common_rules(audiences) == rules
        merged = merge_files(audiences, rules, lists_of(rules), f"{root}/merged", shards=after)
        assert everybody(merged) == everybody(together)
        assert merged.funnel == together.funnel
        for shard, file in enumerate(merged.audiences):
            info = storage.check_prepared(file.path)
            assert info.rows == file.rows
            assert {home(row["phone"], after) for row in rows(file.path)} <= {shard}


def home(phone: str, shards: int) -> int:
    """The shard of a number."""
    numbers = pa.array([int(phone[1:])]).to_numpy()
    return int(shard_numbers(numbers, shards)[0])


@settings(max_examples=40, deadline=None)
@given(PIECES, RULES, st.integers(2, 7))
def test_results_do_not_depend_on_the_number_of_shards(
    pieces: list[list[dict[str, Any]]], rules: AudienceRules, shards: int
) -> None:
    """Each kept number is in exactly one shard; the rejected and the funnel are the same."""
    with TemporaryDirectory() as root:
        whole, parts = prepare(root, "one", pieces, rules), prepare(root, "many", pieces, rules, shards)
        assert len(parts.audiences) == shards
        assert rows(*(file.path for file in parts.audiences)) == rows(whole.audiences[0].path)
        assert rows(parts.rejected.path) == rows(whole.rejected.path)
        assert parts.funnel == whole.funnel
        assert sum(file.rows for file in parts.audiences) == parts.funnel.kept
        for shard, file in enumerate(parts.audiences):
            assert {home(row["phone"], shards) for row in rows(file.path)} <= {shard}


def lead(lead_id: int, *phones: str | None, **values: Any) -> dict[str, Any]:
    """With `mobilePhone` and `phone`."""
    numbers = dict(zip(("mobilePhone", "phone"), phones, strict=False))
    return {"id": lead_id, "blackListed": False, **numbers, **values}


def test_all_numbers_of_whoever_is_suppressed_in_any_piece_are_suppressed_in_all() -> None:
    """The second number, too; and that of a row of the same lead that itself says nothing."""
    rules = AudienceRules(phone_fields=("mobilePhone", "phone"), suppress=("blackListed",))
    pieces = [
        [lead(1, "202-555-0131", "202-555-0132", blackListed=True)],
        [lead(1, "202-555-0133", "202-555-0134"), lead(2, "202-555-0132"), lead(3, "202-555-0135")],
        [lead(4, "202-555-0134"), lead(5, "202-555-0133"), lead(6, "no phone", "202-555-0131")],
    ]
    with TemporaryDirectory() as root:
        apart = [prepare(root, f"piece{n}", [piece], rules) for n, piece in enumerate(pieces)]
        audiences = [files.audiences[0].path for files in apart]
        merged = merge_files(audiences, rules, NumberLists(), f"{root}/merged")
        reasons = {row["id"]: row["reason"] for row in everybody(merged)}
    assert reasons.pop(3) is None
    assert reasons.pop(1) == "suppressed"
    assert set(reasons.values()) == {"suppressed_number"}


def test_nobody_who_is_held_out_is_texted_through_another_piece() -> None:
    """The lowest lead of the number decides, wherever it stands."""
    rules = AudienceRules(suppress=(), holdout=0.5, holdout_name="spring")
    chosen = held_out(range(100), 0.5, "spring")
    first = int(chosen.argmax())
    later = first + int(chosen[first:].argmin())
    pieces = [[lead(first, "202-555-0131")], [lead(later, "202-555-0131")]]
    with TemporaryDirectory() as root:
        apart = [prepare(root, f"piece{n}", [piece], rules) for n, piece in enumerate(pieces)]
        assert [files.audiences[0].rows for files in apart] == [0, 1]
        merged = merge_files(
            [files.audiences[0].path for files in apart], rules, NumberLists(), f"{root}/merged"
        )
        assert sorted(str(row["reason"]) for row in everybody(merged)) == ["duplicate", "holdout"]


def test_a_column_keeps_the_name_that_it_was_extracted_with() -> None:
    """`phone_raw` may be somebody's own column, and not the place to which ours was moved."""
    rules = AudienceRules(suppress=(), phone_fields=("phone_raw",))
    schema = pa.schema({"id": pa.int64(), "phone_raw": pa.string()})
    with TemporaryDirectory() as root:
        path = f"{root}/leads.parquet"
        storage.write_parquet(path, [pa.table({"id": [1], "phone_raw": ["202-555-0131"]}, schema=schema)])
        apart = prepare_files([path], rules, NumberLists(), f"{root}/piece")
        merged = merge_files([apart.audiences[0].path], rules, NumberLists(), f"{root}/merged")
        (row,) = everybody(merged)
    assert (row["phone_raw"], row["phone"], row["reason"]) == ("202-555-0131", "+12025550131", None)
