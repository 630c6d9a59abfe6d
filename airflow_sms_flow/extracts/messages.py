"""The Message Extract: every text of a day, and what became of it (facts C.5). What it said is not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.extracts.files import ExtractFile, on_disk

KIND = "messages"

#: The vendor's names of the columns that are read. Those behind `message_status` are UNPUBLISHED.
PHONE, OUR_ID, AT, STATUS = "mdn", "client_message_id", "timestamp", "message_status"
_COLUMNS = (PHONE, OUR_ID, AT, STATUS)
_BLOCK_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class MessageExtract:
    """One file, read in blocks. `damaged` counts rows with too many or too few fields, as they are met."""

    file: ExtractFile
    damaged: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Columns `mdn`, `client_message_id`, `timestamp`, `message_status`, as text without blanks around.

        Raises `InvalidInput` for a file that is not such an extract, or that is damaged: perhaps after the
        first blocks.
        """
        with on_disk(self.file.path) as source:
            try:
                for batch in pa_csv.open_csv(source, **self._options()):
                    trimmed = [pc.utf8_trim_whitespace(batch.column(name)) for name in _COLUMNS]
                    yield pa.RecordBatch.from_arrays(trimmed, list(_COLUMNS))
            except (pa.ArrowInvalid, pa.ArrowKeyError):
                # Arrow's own text may show a row.
                raise InvalidInput(
                    "extract",
                    self.file.path,
                    f"is not a Message Extract: a text of tab-separated columns, with {', '.join(_COLUMNS)} "
                    f"among them, that was delivered whole",
                ) from None

    def _options(self) -> dict[str, Any]:
        return {
            "read_options": pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
            # Only the message is quoted: inner quotation marks are doubled, it may hold tabs and line breaks.
            "parse_options": pa_csv.ParseOptions(
                delimiter="\t", newlines_in_values=True, invalid_row_handler=self._skip
            ),
            "convert_options": pa_csv.ConvertOptions(
                include_columns=list(_COLUMNS), column_types=dict.fromkeys(_COLUMNS, pa.string())
            ),
        }

    def _skip(self, row: pa_csv.InvalidRow) -> Literal["skip"]:
        """`row` holds a person's number and text: it is only counted."""
        self.damaged += 1
        return "skip"
