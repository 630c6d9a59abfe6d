"""The Current Subscriber Extract: everybody who was on a list at midnight (facts C.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.phone_set import Numbers, PhoneSet, as_numbers
from airflow_sms_flow.extracts.files import ExtractFile, on_disk

KIND = "current_subscribers"

#: `mdn` beside it lacks the country code.
_PHONE, _LIST = "mdn_e164_format", "subscription_list_id"
_BLOCK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SubscriberExtract:
    """Who was on one list at `as_of`. `unreadable` rows of that list hold no E.164 number."""

    path: str
    as_of: datetime
    members: PhoneSet
    unreadable: int


def read_subscribers(file: ExtractFile, list_id: str, *, field: str = "extract") -> SubscriberExtract:
    """One list's members out of the file of all lists, in blocks: memory grows by eight bytes a member.

    Raises `InvalidInput` for a file that is not such an extract, or is damaged.
    """
    parts: list[Numbers] = []
    rows = 0
    for phones in _phones_of(file.path, list_id, field):
        numbers = as_numbers(phones)
        rows += len(phones)
        parts.append(numbers)
    unreadable = rows - sum(len(part) for part in parts)
    return SubscriberExtract(file.path, file.as_of, PhoneSet.merged(parts), unreadable)


def _phones_of(path: str, list_id: str, field: str) -> Iterator[pa.Array[Any]]:
    options: dict[str, Any] = {
        "read_options": pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        # No column holds free text, so a quotation mark is a character like any other.
        "parse_options": pa_csv.ParseOptions(delimiter="\t", quote_char=False),
        "convert_options": pa_csv.ConvertOptions(
            include_columns=[_PHONE, _LIST], column_types={_PHONE: pa.string(), _LIST: pa.string()}
        ),
    }
    with on_disk(path) as source:
        try:
            for batch in pa_csv.open_csv(source, **options):
                phones: Any = batch.column(_PHONE)
                lists: Any = batch.column(_LIST)
                ours = pc.equal(pc.utf8_trim_whitespace(lists), pa.scalar(list_id))
                yield pc.utf8_trim_whitespace(phones.filter(ours))
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            # Arrow's own text may show a row.
            raise InvalidInput(
                field,
                path,
                f"is not a Current Subscriber Extract: a text of tab-separated columns, with {_PHONE} and "
                f"{_LIST} among them, that was delivered whole",
            ) from None
