"""Parts are counted as the carriers charge them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.segments import Segments, count_segments

GSM_LETTERS = st.sampled_from("aZ 0@£Δ_é\n{}[]~|€^\\")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Segments("GSM-7", 0, "septets", 0)),
        ("a" * 160, Segments("GSM-7", 160, "septets", 1)),
        ("a" * 161, Segments("GSM-7", 161, "septets", 2)),
        ("a" * 306, Segments("GSM-7", 306, "septets", 2)),
        ("a" * 307, Segments("GSM-7", 307, "septets", 3)),
        ("€" * 80, Segments("GSM-7", 160, "septets", 1)),
        ("a" * 152 + "€" + "a" * 152, Segments("GSM-7", 306, "septets", 3)),
        ("ё" * 70, Segments("UCS-2", 70, "code units", 1)),
        ("ё" * 71, Segments("UCS-2", 71, "code units", 2)),
        ("🎉" * 35, Segments("UCS-2", 70, "code units", 1)),
        ("🎉" * 36, Segments("UCS-2", 72, "code units", 2)),
        ("🎉" * 67, Segments("UCS-2", 134, "code units", 3)),
        ("`", Segments("UCS-2", 1, "code units", 1)),
    ],
)
def test_texts_at_the_edges_are_counted_to_the_part(text: str, expected: Segments) -> None:
    """160/153 septets, 70/67 code units; an escape or surrogate pair never straddles two parts."""
    assert count_segments(text) == expected


@given(st.one_of(st.text(max_size=400), st.text(GSM_LETTERS, max_size=400)))
def test_the_parts_always_suffice_and_none_is_wasted(text: str) -> None:
    """Enough room for every unit, and never more than one unit of each part lost to an unsplit pair."""
    counted = count_segments(text)
    single, part = (160, 153) if counted.encoding == "GSM-7" else (70, 67)
    if counted.count <= 1:
        assert counted.length <= single
    else:
        assert (counted.count - 1) * (part - 1) < counted.length <= counted.count * part


@given(st.text(GSM_LETTERS, max_size=50))
def test_letters_of_the_basic_and_extension_tables_stay_in_gsm(text: str) -> None:
    """One septet or two, never 16-bit units."""
    assert count_segments(text).encoding == "GSM-7"
