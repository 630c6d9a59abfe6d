"""What a parameter `audience` may be, and what it is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.references import reference, resolve_path, resolve_paths


def test_an_audience_is_a_reference_or_a_path() -> None:
    """Anything else is refused, above all a reference that Jinja made a text of."""
    assert resolve_path({"path": "a.parquet", "rows": 1}) == "a.parquet"
    assert resolve_path(Path("a.parquet")) == resolve_path("a.parquet") == "a.parquet"
    assert reference("a", 1, {"kept": 1}) == {"path": "a", "rows": 1, "funnel": {"kept": 1}}
    for wrong in (None, "", " ", 5, {}, {"path": None}, "{'path': 'a.parquet', 'rows': 1}"):
        with pytest.raises(InvalidInput, match="Parquet file's path"):
            resolve_path(wrong)


def test_a_task_that_takes_one_file_never_takes_the_first_of_several() -> None:
    """Most people would be left out, without a word."""
    with pytest.raises(InvalidInput, match=r"expand\(audience=prepare.output\)"):
        resolve_path([{"path": "a.parquet", "rows": 1}, {"path": "b.parquet", "rows": 1}])


def test_what_becomes_of_mapping_over_one_audience_says_what_is_missing() -> None:
    """Airflow maps over the pairs of a reference."""
    with pytest.raises(InvalidInput, match="shards="):
        resolve_path(("path", "a.parquet"))


def test_several_files_are_taken_each_once() -> None:
    """None at all, or one twice, is a mistake in the DAG."""
    assert resolve_paths("a.parquet") == ["a.parquet"]
    assert resolve_paths([{"path": "a.parquet"}, "b.parquet"]) == ["a.parquet", "b.parquet"]
    with pytest.raises(InvalidInput, match="is empty"):
        resolve_paths([])
    with pytest.raises(InvalidInput, match="named twice"):
        resolve_paths(["a.parquet", {"path": "a.parquet"}])
