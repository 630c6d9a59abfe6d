"""The Message Extract: what is read of it, whatever the texts in it hold."""

from __future__ import annotations

import gzip
from codecs import BOM_UTF8
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.extracts.files import ExtractFile
from airflow_sms_flow.extracts.messages import MessageExtract

COLUMNS = (
    "person_id",
    "external_person_id",
    "mdn",
    "carrier_code",
    "message_id",
    "client_message_id",
    "timestamp",
    "message_status",
    "message",
    "something_unpublished",
)
ANN, BOB = "+12025550111", "+12025550112"
ID = "0123456789abcdef0123456789abcdef"
WHEN = "2017-04-15 14:30:00 -0600"


def row(phone: str, our_id: str = ID, status: str = "SUCCESS", message: str = "hello") -> str:
    """One row as Vibes writes it: of its fields the message alone is quoted."""
    quoted = '"' + message.replace('"', '""') + '"'
    return "\t".join(("key-1", "", phone, "310", "M1", our_id, WHEN, status, quoted, "7"))


def extract(folder: Path, *rows: str | bytes, head: tuple[str, ...] = COLUMNS) -> MessageExtract:
    """A file of these rows."""
    lines = ["\t".join(head).encode(), *(one if isinstance(one, bytes) else one.encode() for one in rows)]
    path = folder / "messages_acme_2026-03-02.txt"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return MessageExtract(ExtractFile(str(path), datetime(2026, 3, 1, 22, tzinfo=UTC)))


def read(found: MessageExtract) -> list[tuple[str, ...]]:
    """Everything that is read, row by row."""
    return [tuple(one.values()) for batch in found.batches() for one in batch.to_pylist()]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "two\tcolumns?",
        "two\nlines",
        "two\r\nlines",
        'she said "hi"',
        '"quoted"',
        '"',
        "\t\n\t",
        f"{BOB}\t310\tM2\t{ID}\t{WHEN}\tSUCCESS",
    ],
)
def test_a_text_may_hold_anything(tmp_path: Path, message: str) -> None:
    """It moves no other column, and is not read itself."""
    found = extract(tmp_path, row(ANN, message=message), row(BOB, "", "Route Not Found"))
    assert read(found) == [(ANN, ID, WHEN, "SUCCESS"), (BOB, "", WHEN, "Route Not Found")]
    assert found.damaged == 0


def test_a_text_that_swallows_rows_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its mark is not doubled, so that the next row seems to be part of it: the rest is read all the same."""
    torn = row(ANN).replace('"hello"', '"Big "Al')
    assert read(extract(tmp_path, row(ANN), torn, row(BOB), row(BOB, ID))) != []
    (warning,) = caplog.messages
    assert "quotation mark in line 3" in warning
    assert not any(phone in warning for phone in (ANN, BOB))


def test_a_packed_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    """No error of Arrow's own, which Airflow would repeat."""
    whole = extract(tmp_path, *[row(ANN)] * 1000)
    packed = tmp_path / "messages_acme_2026-03-02.txt.gz"
    packed.write_bytes(gzip.compress(Path(whole.file.path).read_bytes())[:-30])
    with pytest.raises(InvalidInput, match="delivered whole"):
        read(MessageExtract(replace(whole.file, path=str(packed))))


def test_whole_texts_are_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the file is packed, or begins with a byte order mark."""
    whole = extract(tmp_path, row(ANN, message='she said "hi"\tthere'), row(BOB))
    content = BOM_UTF8 + Path(whole.file.path).read_bytes()
    packed = tmp_path / "messages_acme_2026-03-02.txt.gz"
    packed.write_bytes(gzip.compress(content))
    assert len(read(MessageExtract(replace(whole.file, path=str(packed))))) == len(read(whole)) == 2
    assert caplog.messages == []


def test_a_text_need_not_even_be_text(tmp_path: Path) -> None:
    """Bytes of another encoding are nobody's business."""
    strange = row(ANN, message="caf?").encode().replace(b"?", b"\xe9")
    assert read(extract(tmp_path, strange)) == [(ANN, ID, WHEN, "SUCCESS")]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """What follows message_status is unpublished, and what precedes it may change."""
    head = ("new", "message_status", "timestamp", "client_message_id", "mdn")
    line = "\t".join(("x", " Capped Message ", WHEN, "", f" {ANN}"))
    assert read(extract(tmp_path, line, head=head)) == [(ANN, "", WHEN, "Capped Message")]


def test_a_row_of_another_length_is_counted_and_left_out(tmp_path: Path) -> None:
    """Without a word of what stands in it."""
    found = extract(tmp_path, row(ANN), f"{BOB}\tsecret", row(BOB))
    assert [one[0] for one in read(found)] == [ANN, BOB]
    assert found.damaged == 1


def test_a_file_without_rows(tmp_path: Path) -> None:
    """Nothing was sent that day."""
    assert read(extract(tmp_path)) == []


def test_another_file_is_refused_without_quoting_it(tmp_path: Path) -> None:
    """The error names the file and the columns that it must have."""
    for head in (("mdn", "subscription_list_id"), (ANN,)):
        with pytest.raises(InvalidInput, match=r"messages_acme_2026-03-02.txt.*client_message_id") as raised:
            read(extract(tmp_path, f"{ANN}\t1201", head=head))
        assert ANN not in str(raised.value)
        assert raised.value.__suppress_context__


def test_a_file_cut_off_in_a_text(tmp_path: Path) -> None:
    """What was whole is read; the torn row is no row."""
    whole = extract(tmp_path, row(ANN), row(BOB, message="a long story\nin lines"))
    path = Path(whole.file.path)
    path.write_bytes(path.read_bytes()[:-12])
    assert [one[0] for one in read(whole)] == [ANN]
    assert whole.damaged == 1


def test_a_large_file_is_read_in_blocks(tmp_path: Path) -> None:
    """Rows that lie across two blocks, too."""
    rows = [row(ANN, message="line\n" * 60) for _ in range(40_000)]
    found = extract(tmp_path, *rows)
    batches = list(found.batches())
    assert len(batches) > 1
    assert sum(batch.num_rows for batch in batches) == 40_000
