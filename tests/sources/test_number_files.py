"""Lists of numbers: every entry is read, or its number is told; none is passed over in silence."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_sms_flow.core.errors import InvalidInput, Unavailable
from airflow_sms_flow.core.rules import AudienceRules, NumberFile
from airflow_sms_flow.sources import files
from airflow_sms_flow.sources.number_files import NumbersRead, read_lists, read_numbers
from tests.broken_files import broken_gzips, broken_parquets, failing_store, named
from tests.first_rows import FIRST_ROWS

BOTH = ["+12025550132", "+12025550133"]


def read(path: Path, content: str = "", column: str | None = None, region: str = "US") -> NumbersRead:
    if content:
        path.write_text(content)
    return read_numbers(NumberFile(str(path), column), region, "deny_list")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dnc.txt", "# do not call\n202-555-0132\r\n\n+1 (202) 555-0133\n2025550132"),
        ("dnc", "\ufeff2025550132\n\ufeff2025550133"),
        ("dnc.txt", "# do not call\r202-555-0132\r2025550133\r"),
        ("dnc.csv", "number\n202-555-0132\n12025550133\n\n"),
        ("dnc.csv", "id,phone\n1,202-555-0132\n2,202.555.0133\n3,\n"),
    ],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, name: str, content: str) -> None:
    """One a line, or the one column, or the one that is called phone."""
    found = read(tmp_path / name, content)
    assert list(found.phones) == BOTH
    assert (found.invalid, found.unclear) == (0, 0)


def test_a_column_may_be_named_and_may_hold_numbers(tmp_path: Path) -> None:
    """Whole ones, and those that pandas made floats of."""
    path = tmp_path / "dnc.parquet"
    pq.write_table(pa.table({"x": ["a", "b"], "cell": [2025550132.0, 2025550133.0]}), path)
    assert list(read(path, column="cell").phones) == BOTH
    with pytest.raises(InvalidInput, match="did you mean 'cell'"):
        read(path, column="cel")
    with pytest.raises(InvalidInput, match="deny_list="):
        read(path)


def test_a_file_of_numbers_needs_no_header_only_if_it_is_no_csv(tmp_path: Path) -> None:
    """Else its first number would be taken for the name of the column, and be texted."""
    with pytest.raises(InvalidInput, match="column names") as caught:
        read(tmp_path / "dnc.csv", "2025550132\n2025550133\n")
    assert "555" not in str(caught.value)


@pytest.mark.parametrize("row", FIRST_ROWS)
def test_a_first_number_is_no_header_and_is_not_shown(tmp_path: Path, row: str) -> None:
    """Whether a CSV file begins with it, or a Parquet file that was made of such a one."""
    names = row.split(",")
    pq.write_table(pa.table({name: ["2025550133"] for name in names}), tmp_path / "dnc.parquet")
    for name, column in [("dnc.csv", None), ("dnc.parquet", None), ("dnc.parquet", "2025550131")]:
        with pytest.raises(InvalidInput) as caught:
            read(tmp_path / name, "" if name.endswith("parquet") else f"{row}\n{row}\n", column)
        assert not any(part in str(caught.value) for part in ("0132", "Bob", "bob"))


def test_what_might_be_a_number_elsewhere_must_not_be_passed_over(tmp_path: Path) -> None:
    """A British number in an American list; with its country code, or in its region, it is clear."""
    path = tmp_path / "dnc.txt"
    found = read(path, "020 7946 0000\n+1 202 155 0132\n202-555-0132\n")
    assert (list(found.phones), found.invalid, found.unclear) == (BOTH[:1], 1, 1)
    with pytest.raises(InvalidInput, match="1 entries are no valid number in US") as caught:
        read_lists(AudienceRules(deny_list=NumberFile(str(path))))
    assert "7946" not in str(caught.value)
    assert read(path, "020 7946 0000\n+44 20 7946 0000", region="GB").unclear == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dnc.txt", "+12025550132\n+12025550133,John\n"),
        ("dnc.txt", "+12025550132\n+12025550133 John\n"),
        ("dnc.txt", "+12025550132\n+12025550133\t2026-01-01\n"),
        ("dnc.txt", "+12025550132\n+1.20256E+10\n"),
        ("dnc.txt", "2025550132;2025550133\n"),
        ("dnc.csv", "phone\n+12025550132\n+12025550133;2026-01-01\n"),
        ("dnc.csv", "phone\n+12025550132\n+12025550133 +12025550134\n"),
    ],
)
def test_a_plus_does_not_make_an_entry_one_to_pass_over(tmp_path: Path, name: str, content: str) -> None:
    """Whoever stands there with something beside the number would be texted, with no more than a warning."""
    assert read(tmp_path / name, content).unclear == 1
    with pytest.raises(InvalidInput, match="1 entries are no valid number") as caught:
        read_lists(AudienceRules(deny_list=NumberFile(str(tmp_path / name))))
    assert "555" not in str(caught.value)


@pytest.mark.parametrize("content", ["phone;since\n2025550132;2026\n", '"phone,since"\n2025550132\n'])
def test_a_name_that_holds_a_delimiter_is_no_single_column(tmp_path: Path, content: str) -> None:
    """Whether what stands behind the first cell is read is luck then; who named the column meant it."""
    path = tmp_path / "dnc.csv"
    with pytest.raises(InvalidInput, match="stood between several"):
        read(path, content)
    assert list(read(path, column=content.partition("\n")[0].strip('"')).phones) == BOTH[:1]


@pytest.mark.parametrize("rule", ["allow_list", "deny_list"])
def test_a_list_may_be_empty_but_not_without_a_number(tmp_path: Path, rule: str) -> None:
    """Nobody may have asked to be left alone yet; but a file in which nothing is a number is another one."""
    rules = AudienceRules(**{rule: NumberFile(str(tmp_path / "list.csv"))})  # type: ignore[arg-type]  # by name
    for empty in ("phone\n", "id,phone\n7,\n"):
        (tmp_path / "list.csv").write_text(empty)
        found = getattr(read_lists(rules), rule.removesuffix("_list"))
        assert list(found) == []
    (tmp_path / "list.csv").write_text("phone\n+1 202 155 0132\n+1 202 155 0133\n")
    with pytest.raises(InvalidInput, match=f"{rule}=.*none of its 2 entries"):
        read_lists(rules)
    for empty in ("", "# nobody yet\n\n"):
        (tmp_path / "list.txt").write_text(empty)
        assert len(read(tmp_path / "list.txt").phones) == 0


def test_no_stray_quotation_mark_swallows_an_entry(tmp_path: Path) -> None:
    """Whoever stands between two of them would be texted."""
    path = tmp_path / "dnc.csv"
    for content in (
        'phone,name\n2025550132,"Al\n2025550133,Bo\n2025550134,"Cy\n',
        'phone\n2025550132\n"2025550133\n',
    ):
        with pytest.raises(InvalidInput, match=r"deny_list=.*quotation mark opens in line"):
            read(path, content)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """By its name alone."""
    path = tmp_path / "dnc.txt"
    path.write_bytes(b"\xff\xfe2\x000\x00")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    named("dnc.txt.gz", broken_gzips("2025550132\n"))
    + named("dnc.csv.gz", broken_gzips("phone\n"))
    + named("dnc.parquet", broken_parquets()),
)
def test_a_list_that_is_broken_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Half of it would be as good as none for those in the other half."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=r"deny_list=.*(cannot be unpacked|a broken one)"):
        read(tmp_path / name)


def test_a_list_in_a_store_that_fails_is_left_to_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be there the next time."""
    monkeypatch.setattr(files, "file_system", failing_store)
    with pytest.raises(Unavailable):
        read(Path("dnc.txt"))
