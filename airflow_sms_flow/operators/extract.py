"""Extract Smart List: the members of a Marketo list, as a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal
from airflow_sms_flow.operators._earlier_try import Workplace, workplace
from airflow_sms_flow.progress import Meter

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.clients.marketo import ExportProgress, ExportResult, MarketoClient
    from airflow_sms_flow.references import AudienceRef

#: What a preparation needs at least.
_ALWAYS = ("id", "mobilePhone", "country", "blackListed", "marketingSuspended")
_CSV = "leads.csv"


class ExtractSmartListOperator(SmsFlowOperator):
    """Export the people who are on a Marketo list now to `leads.parquet`; returns its audience reference.

    :param smart_list: id or exact name of a smart list.
    :param static_list: id or exact name of a static list. Beside a `smart_list` it is the fallback for
        subscriptions that cannot export by smart list (Marketo's code 1035); a smart campaign can fill it.
    :param fields: REST names of further fields, such as those that a message's tokens print: a list, or text
        with commas. `id`, `mobilePhone`, `country`, `blackListed`, `marketingSuspended` are always added.
    :param marketo_conn_id: a connection of the type Marketo.
    :param poll_interval: seconds between two looks at Marketo's export job, which Marketo itself updates
        once a minute. Default: `[sms_flow] marketo_poll_seconds` (60).

    An empty list is a success. A wrong list, field or connection fails the task without retries. A retry
    after a killed process or a broken download goes on with that export; a cleared task makes a new one.
    """

    template_fields: Sequence[str] = ("smart_list", "static_list", "fields", "marketo_conn_id")
    ui_color = "#e0f2fe"

    # Made in the task itself: an event cannot be copied, and Airflow copies operators.
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        smart_list: int | str | None = None,
        static_list: int | str | None = None,
        fields: Sequence[str] | str = ("firstName", "lastName", "updatedAt"),
        marketo_conn_id: str = "marketo_default",
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.smart_list = smart_list
        self.static_list = static_list
        self.fields = fields
        self.marketo_conn_id = marketo_conn_id
        self.poll_interval = poll_interval
        if is_literal(smart_list) and is_literal(static_list):
            _check_list_given(smart_list, static_list)
        if is_literal(fields):
            _field_names(fields)
        if poll_interval is not None and not poll_interval > 0:
            raise InvalidInput(
                "poll_interval", poll_interval, "give a positive number of seconds, such as 60"
            )

    def run(self, context: Context) -> AudienceRef:
        """Export, convert, name; the raw CSV does not outlive the task."""
        _check_list_given(self.smart_list, self.static_list)
        names = _field_names(self.fields)
        from airflow_sms_flow.clients.marketo_csv import export_schema
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.marketo import MarketoHook
        from airflow_sms_flow.references import reference
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.storage import DISPLAY_NAMES_KEY, write_parquet

        refuse_local_parts_on_other_machines()
        self._stop = threading.Event()
        folder = self.folder(context)
        hook = MarketoHook(self.marketo_conn_id)
        with (
            closing(open_ledger()) as ledger,
            hook.sharing_client(ledger, stop=self._stop.is_set) as client,
            workplace(folder, getattr(context["ti"], "max_tries", None)) as work,
        ):
            fields = client.check_fields(names)
            result = self._export(client, names, work)
            shown = {field.display_name: name for name, field in fields.items()}
            path = f"{folder}/leads.parquet"
            schema = export_schema(fields)
            batches = self._all_rows(work.folder / _CSV, schema, result)
            metadata = {DISPLAY_NAMES_KEY: json.dumps(shown, sort_keys=True)}
            rows = write_parquet(path, batches, schema=schema, metadata=metadata)
        self.log.info("Extracted %s people%s", f"{rows:,}", "" if rows else ": the list is empty")
        return reference(path, rows)

    def on_kill(self) -> None:
        """The export under way is cancelled at Marketo, whose queue is short."""
        if self._stop is not None:
            self._stop.set()

    def _export(self, client: MarketoClient, names: Sequence[str], work: Workplace) -> ExportResult:
        from airflow_sms_flow.clients.marketo import (
            SmartListFilter,
            SmartListFilterUnavailable,
            StaticListFilter,
        )
        from airflow_sms_flow.settings import marketo_poll_seconds

        # Both lists are looked up before the export, so that a wrong fallback does not show months later.
        filters: list[SmartListFilter | StaticListFilter] = []
        if (smart_list := _given(self.smart_list)) is not None:
            filters.append(SmartListFilter(client.find_smart_list(smart_list).id))
        if (static_list := _given(self.static_list)) is not None:
            filters.append(StaticListFilter(client.find_static_list(static_list).id))

        def export(list_filter: SmartListFilter | StaticListFilter) -> ExportResult:
            return client.export_leads(
                names,
                list_filter,
                work.folder / _CSV,
                poll_interval_seconds=self.poll_interval or marketo_poll_seconds(),
                on_progress=_progress_line(self.log.info),
                earlier=work.earlier(names, list_filter),
            )

        try:
            return export(filters[0])
        except SmartListFilterUnavailable:
            if len(filters) < 2:
                raise
        self.log.warning("Marketo cannot export by smart list here (1035): the static list is taken")
        return export(filters[1])

    def _all_rows(self, csv_path: Path, schema: pa.Schema, result: ExportResult) -> Iterator[pa.RecordBatch]:
        """The rows of the file; `WrongFile` at the end where they are fewer or more than Marketo counted."""
        from airflow_sms_flow.clients.marketo import WrongFile
        from airflow_sms_flow.clients.marketo_csv import read_export

        if result.rows is None:
            self.log.warning("Marketo gave no number of records: nothing tells whether everybody is here")
        rows, meter = 0, Meter("Converting to Parquet", "rows", result.rows, self.log.info)
        for batch in read_export(csv_path, schema):
            rows += batch.num_rows
            yield batch
            meter.reached(rows)
        if result.rows is not None and rows != result.rows:
            raise WrongFile(f"Marketo's export has {rows:,} rows where Marketo counted {result.rows:,}")


def _given(value: int | str | None) -> int | str | None:
    """The list that was named, if any. Jinja writes an empty Param as "" or "None"."""
    return None if value is None or str(value).strip() in ("", "None") else value


def _check_list_given(smart_list: Any, static_list: Any) -> None:
    if _given(smart_list) is None and _given(static_list) is None:
        raise InvalidInput("smart_list", smart_list, "give the id or name of a smart list, or a static_list")


def _field_names(fields: Any) -> list[str]:
    """The fields to export, each once, those that are always needed first."""
    if isinstance(fields, str):
        fields = [name for name in fields.split(",") if name.strip()]
    if not isinstance(fields, list | tuple) or not all(
        isinstance(name, str) and name.strip() for name in fields
    ):
        raise InvalidInput("fields", fields, 'give REST names as a list, such as ["firstName", "city"]')
    return list(dict.fromkeys([*_ALWAYS, *(name.strip() for name in fields)]))


def _progress_line(say: Callable[..., None]) -> Callable[[ExportProgress], None]:
    """A line at each change of status, and every ten seconds of the download."""
    last, meter = "", Meter("downloading", "MB", None, say)

    def tell(progress: ExportProgress) -> None:
        nonlocal last, meter
        if progress.status != last:
            last = progress.status
            size = f", {progress.bytes_total / 1e6:,.1f} MB" if progress.bytes_total is not None else ""
            say("Export %s: %s%s", progress.export_id, last, size)
            total = None if progress.bytes_total is None else progress.bytes_total / 1e6
            meter = Meter(f"Export {progress.export_id}: downloading", "MB", total, say, digits=1)
        if progress.bytes_done:
            meter.reached(progress.bytes_done / 1e6)

    return tell
