"""What the extractions from other places than Marketo share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.column_map import read_columns
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.references import AudienceRef
    from airflow_sms_flow.sources.source import Source

_LINE_SECONDS = 10.0


class ExtractSourceOperator(SmsFlowOperator):
    """Writes the people of a source to `leads.parquet`, in pieces; returns its audience reference."""

    ui_color = "#e0f2fe"

    def __init__(self, *, columns: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = columns
        self._check(rendered=False)

    def source(self) -> AbstractContextManager[Source]:
        """The opened source."""
        raise NotImplementedError

    def _check(self, *, rendered: bool) -> None:
        """Raise `InvalidInput` for what is wrong in a parameter that is known by now."""
        if rendered or is_literal(self.columns):
            read_columns(self.columns)

    def run(self, context: Context) -> AudienceRef:
        """Read, map, check, name."""
        self._check(rendered=True)
        from airflow_sms_flow.references import reference
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.sources.people import read_people
        from airflow_sms_flow.storage import write_parquet

        refuse_local_parts_on_other_machines()
        path = f"{self.folder(context)}/leads.parquet"
        with self.source() as source:
            people = read_people(source, read_columns(self.columns))
            rows = write_parquet(path, _told(people, self.log.info))
        self.log.info("Extracted %s people%s", f"{rows:,}", "" if rows else ": there is nobody in it")
        return reference(path, rows)


def _told(batches: Iterable[pa.RecordBatch], say: Callable[..., None]) -> Iterator[pa.RecordBatch]:
    """The batches, with a line in the log every ten seconds."""
    rows, due = 0, time.monotonic() + _LINE_SECONDS
    for batch in batches:
        yield batch
        rows += batch.num_rows
        if time.monotonic() > due:
            say("%s people so far", f"{rows:,}")
            due = time.monotonic() + _LINE_SECONDS
