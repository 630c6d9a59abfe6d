"""Quotation marks are where Python's strict reader wants them, wherever a block may end."""

import csv
import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core import quoted_cells
from airflow_sms_flow.core.quoted_cells import QuotedCells


def wrong_line(blocks: Iterable[bytes], delimiter: str = ",") -> int | None:
    cells = QuotedCells(delimiter)
    found = [cells.wrong_in(block) for block in blocks]
    return next(filter(None, found), None) or cells.wrong_at_end()


def refused_by_python(text: str, delimiter: str) -> bool:
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return True
    return False


@given(
    pieces=st.lists(st.sampled_from(['"', '""', ",", "\t", "\n", "\r", "\r\n", "a", " "]), max_size=20),
    delimiter=st.sampled_from([",", "\t"]),
    size=st.integers(1, 7),
)
def test_it_refuses_what_pythons_strict_reader_refuses(pieces: list[str], delimiter: str, size: int) -> None:
    """And nothing else; blocks and pieces of any size find the same."""
    text = "".join(pieces).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quoted_cells, "_PIECE_BYTES", size)
        found = wrong_line([text], delimiter)
    assert (found is not None) == refused_by_python(text.decode(), delimiter)
    assert found == wrong_line([text[at : at + size] for at in range(0, len(text), size)], delimiter)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a\nb,"c" \n', 2),
        ('a\n"b\nc"d\n', 2),
        ('a\n"b\n""c""\n', 2),
        ('a\r\n"b""\r\n"c"d\r\n', 2),
        ('a\r"b"c\r', 2),
        ('a\n"b"\n""c\n', 3),
        ('a\nb"c"\n"d""e"\n', None),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_the_line_is_that_where_the_cell_begins(text: str, line: int | None, size: int) -> None:
    """There stands the mark that is to be taken away; where the next one is, says little."""
    assert wrong_line([text.encode()[at : at + size] for at in range(0, len(text), size)]) == line
