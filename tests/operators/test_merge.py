"""Pieces prepared by tasks of their own become one audience; nothing of a piece may be missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators import MergeAudiencesOperator, PrepareAudienceOperator

NORTH = {
    "id": [1, 2, 3],
    "mobilePhone": ["202-555-0131", "202-555-0132", None],
    "blackListed": [None, True, None],
}
SOUTH = {
    "id": [4, 5, 6],
    "mobilePhone": ["2025550131", "2025550132", "2025550133"],
    "blackListed": [False] * 3,
}


@pytest.fixture(autouse=True)
def storage_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))


def run(operator: Any, map_index: int = -1) -> tuple[Any, dict[str, Any]]:
    """As Airflow would; what the task returns and what it pushes."""
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="sms",
        run_id="r",
        task_id=operator.task_id,
        map_index=map_index,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    return operator.execute({"ti": ti}), pushed


def prepare(tmp_path: Path, leads: dict[str, list[Any]], index: int, **rules: Any) -> Any:
    """One of the mapped tasks: a reference, or with shards a list of them."""
    path = str(tmp_path / f"leads{index}.parquet")
    storage.write_parquet(path, [pa.table(leads)])
    operator = PrepareAudienceOperator(
        task_id="prepare", audience=path, **({"suppress": "blackListed"} | rules)
    )
    return run(operator, index)[0]


def merge(audiences: Any, **parameters: Any) -> tuple[Any, dict[str, Any]]:
    return run(MergeAudiencesOperator(task_id="merge", audiences=audiences, **parameters))


def rows(*references: Any) -> list[dict[str, Any]]:
    return [
        row for one in references for batch in storage.read_batches(one["path"]) for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("shards", [None, 3])
def test_who_is_suppressed_in_one_piece_is_suppressed_in_all(tmp_path: Path, shards: int | None) -> None:
    """And a number in two pieces is texted once; everybody else keeps their reason."""
    pieces = [prepare(tmp_path, leads, n, shards=shards) for n, leads in enumerate((NORTH, SOUTH))]
    audience, pushed = merge(pieces)
    assert {row["id"]: row["phone"] for row in rows(audience)} == {1: "+12025550131", 6: "+12025550133"}
    assert {row["id"]: row["reason"] for row in rows(pushed["rejected"])} == {
        2: "suppressed", 3: "no_phone", 4: "duplicate", 5: "suppressed_number",
    }  # fmt: skip
    funnel = audience["funnel"]
    assert (funnel["extracted"], funnel["kept"], audience["rows"]) == (6, 2, 2)
    storage.check_prepared(audience["path"])


def test_the_merged_audience_may_have_shards(tmp_path: Path) -> None:
    """A list to map over, whether the pieces had shards or not."""
    pieces = [prepare(tmp_path, leads, n) for n, leads in enumerate((NORTH, SOUTH))]
    audiences, pushed = merge(pieces, shards="4")
    assert len(audiences) == 4
    assert sorted(row["id"] for row in rows(*audiences)) == [1, 6]
    assert pushed["funnel"]["kept"] == 2


def test_the_limit_holds_for_the_whole(tmp_path: Path) -> None:
    """Two pieces that are small enough may be too many together."""
    west = {"id": [7, 8], "mobilePhone": ["2025550134", "2025550135"], "blackListed": [False] * 2}
    rules = {"max_recipients": 3, "suppress": ()}
    pieces = [prepare(tmp_path, leads, n, **rules) for n, leads in enumerate((NORTH, west))]
    with pytest.raises(AirflowFailException, match=r"has 4 people .* allowed 3, so nobody is texted"):
        merge(pieces)
    assert list((tmp_path / "files").rglob("merge/*.parquet")) == []


def test_a_deny_list_is_read_again(tmp_path: Path) -> None:
    """Whoever came onto it since is not texted."""
    deny = tmp_path / "deny.txt"
    deny.write_text("+12025550133\n")
    pieces = [prepare(tmp_path, leads, n, deny_list=str(deny)) for n, leads in enumerate((NORTH, SOUTH))]
    deny.write_text("+12025550133\n+12025550131\n")
    audience, _ = merge(pieces)
    assert audience["rows"] == 0
    assert audience["funnel"]["denied"] == 3


def test_half_a_piece_is_refused(tmp_path: Path) -> None:
    """A shard that is left out would be lost without a reason."""
    pieces = prepare(tmp_path, NORTH, 0, shards=2)
    with pytest.raises(AirflowFailException, match="give all of them"):
        merge([pieces[:1]])


def test_without_the_rejected_nothing_is_merged(tmp_path: Path) -> None:
    """Nobody would know who is suppressed."""
    pieces = [prepare(tmp_path, leads, n) for n, leads in enumerate((NORTH, SOUTH))]
    Path(pieces[0]["path"]).with_name("rejected.parquet").unlink()
    with pytest.raises(AirflowFailException, match=r"rejected.parquet.*no such file"):
        merge(pieces)


def test_pieces_by_other_rules_are_refused(tmp_path: Path) -> None:
    """What one of them lets through the other might not."""
    pieces = [prepare(tmp_path, NORTH, 0), prepare(tmp_path, SOUTH, 1, suppress=())]
    with pytest.raises(AirflowFailException, match="other rules"):
        merge(pieces)


def test_what_was_not_prepared_is_refused(tmp_path: Path) -> None:
    """An extraction, the rejected, nothing at all."""
    piece = prepare(tmp_path, NORTH, 0)
    raw = str(tmp_path / "leads0.parquet")
    for wrong in ([piece, raw], [str(Path(piece["path"]).with_name("rejected.parquet"))]):
        with pytest.raises(AirflowFailException, match="was not prepared"):
            merge(wrong)
    for nothing in (None, []):
        with pytest.raises(AirflowFailException, match="audience="):
            merge(nothing)
    with pytest.raises(InvalidInput, match="from 1 to 100"):
        MergeAudiencesOperator(task_id="merge", audiences=[], shards=1000)
