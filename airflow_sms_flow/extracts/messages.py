"""The Message Extract: every text of a day, and what became of it (facts C.5). What it said is not read."""

from __future__ import annotations

import logging
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.quoted_cells import QuotedCells
from airflow_sms_flow.extracts.files import ExtractFile, on_disk

log = logging.getLogger(__name__)

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
                self._warn_of_stray_marks(source)
                for batch in pa_csv.open_csv(source, **self._options()):
                    trimmed = [pc.utf8_trim_whitespace(batch.column(name)) for name in _COLUMNS]
                    yield pa.RecordBatch.from_arrays(trimmed, list(_COLUMNS))
            except (pa.ArrowInvalid, pa.ArrowKeyError, OSError):  # the last for one that cannot be unpacked
                # Arrow's own text may show a row.
                raise InvalidInput(
                    "extract",
                    self.file.path,
                    f"is not a Message Extract: a text of tab-separated columns, with {', '.join(_COLUMNS)} "
                    f"among them, that was delivered whole",
                ) from None

    def _warn_of_stray_marks(self, source: str) -> None:
        """Behind such a mark Arrow takes rows for a text. What is left of the file is true all the same, and
        a delivery without its row still waits for its callback: nothing is gained by refusing the day."""
        cells = QuotedCells("\t")
        with pa.input_stream(source) as raw:
            wrong = cells.wrong_in(raw.read(_BLOCK_BYTES).removeprefix(BOM_UTF8))
            while wrong is None and (block := raw.read(_BLOCK_BYTES)):
                wrong = cells.wrong_in(block)
        if wrong is None:
            wrong = cells.wrong_at_end()
        if wrong is not None:
            log.warning(
                "%s: a quotation mark in line %s is not closed as it should be, and rows behind it may be "
                "missing. Ask Vibes for the file of that day again, and read it once more",
                self.file.path,
                f"{wrong:,}",
            )

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
