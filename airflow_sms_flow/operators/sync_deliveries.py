"""Sync Deliveries: what became of our texts, out of the vendor's daily file of messages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    from airflow.sdk import Context


class SyncDeliveriesOperator(SmsFlowOperator):
    """Fill in, from Vibes' Message Extract, what callbacks missed: texts sent, bounced, or refused late. A
    delivery in doubt is settled by it.

    Returns `{"rows", "matched", "news", "ambiguous", "unknown", "unreadable"}`, in rows of the file: see
    `message_log.FillReport`. A row is about the delivery whose id it carries as `client_message_id`. A row
    without any id is about a delivery to its number that left within the 24 hours before, where exactly one
    fits, and no other row fits that one. What a text says is not read.

    SUCCESS means that Vibes sent the text, not that it arrived: such a delivery is no longer in doubt, and
    still waits for its receipt. Run it after the file of each day; a file may be read again, in any order.
    Several files: `.expand(extract=[...])`.

    :param extract: a Message Extract, or the folder that Vibes delivers them to, of which the newest counts;
        any path or address that ObjectStoragePath understands.
    :param max_age: how old the file may be.
    :param vibes_conn_id: a connection of the type Vibes.
    """

    template_fields: Sequence[str] = ("extract", "vibes_conn_id")
    ui_color = "#e0f2fe"

    def __init__(
        self,
        *,
        extract: str,
        max_age: timedelta = timedelta(hours=36),
        vibes_conn_id: str = "vibes_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extract = extract
        self.max_age = max_age
        self.vibes_conn_id = vibes_conn_id
        self._check_literals()

    def run(self, context: Context) -> dict[str, int]:
        """Read the file, tell the ledger."""
        self._check_literals(rendered=True)
        from airflow_sms_flow.extracts.files import find_extract
        from airflow_sms_flow.extracts.messages import KIND, MessageExtract
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.message_log import fill_in
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines

        refuse_local_parts_on_other_machines()
        company_key = VibesHook(self.vibes_conn_id).company_key
        file = find_extract(self.extract, KIND, company_key, max_age=self.max_age, now=datetime.now(UTC))
        self.log.info("Reading %s", file.path)
        with closing(open_ledger()) as ledger:
            report = fill_in(ledger, company_key, MessageExtract(file))
        for name, count in report.as_dict().items():
            self.log.info("%-12s%12s", name, f"{count:,}")
        return report.as_dict()

    def _check_literals(self, *, rendered: bool = False) -> None:
        if rendered or is_literal(self.extract):
            read_id("extract", self.extract, "the file that Vibes delivered, or the folder it lies in")
        if not isinstance(self.max_age, timedelta) or self.max_age <= timedelta():
            raise InvalidInput("max_age", self.max_age, "a time such as timedelta(hours=36)")
