"""Sync Subscribers: the ledger's own copy of a list, corrected by the vendor's daily file."""

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


class SyncSubscribersOperator(SmsFlowOperator):
    """Correct the ledger's copy of a Vibes list, which `membership="mirror"` sends by.

    Returns `{"list_id", "as_of", "members", "joined", "left", "newer", "is_first"}`: how many the file has,
    how many had joined or left without the ledger hearing of it, and of how many the ledger knows something
    later than the file. Who joined or left is new to `NewSubscribersOperator` and its like, but not at the
    first sync of a list, which only says who was there before. Several lists: `.expand(list_id=[...])`.

    :param list_id: the Vibes subscription list.
    :param extract: a Current Subscriber Extract, or the folder that Vibes delivers them to, of which the
        newest counts; any path or address that ObjectStoragePath understands.
    :param max_age: how old the file may be.
    :param max_left_share: the file may lack so much (from 0 to 1) of those whom the ledger has on the list;
        more means that the file was cut short, or that somebody should look.
    :param vibes_conn_id: a connection of the type Vibes.
    """

    template_fields: Sequence[str] = ("list_id", "extract", "vibes_conn_id")
    ui_color = "#e0f2fe"

    def __init__(
        self,
        *,
        list_id: str,
        extract: str,
        max_age: timedelta = timedelta(hours=36),
        max_left_share: float = 0.2,
        vibes_conn_id: str = "vibes_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.list_id = list_id
        self.extract = extract
        self.max_age = max_age
        self.max_left_share = max_left_share
        self.vibes_conn_id = vibes_conn_id
        self._check_literals()

    def run(self, context: Context) -> dict[str, Any]:
        """Read the file, compare, correct."""
        self._check_literals(rendered=True)
        from airflow_sms_flow.extracts.files import find_extract
        from airflow_sms_flow.extracts.subscribers import KIND, read_subscribers
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.mirror import sync
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines

        refuse_local_parts_on_other_machines()
        list_id, company_key = self._list_id(), VibesHook(self.vibes_conn_id).company_key
        file = find_extract(self.extract, KIND, company_key, max_age=self.max_age, now=datetime.now(UTC))
        extract = read_subscribers(file, list_id)
        with closing(open_ledger()) as ledger:
            report = sync(ledger, company_key, list_id, extract, max_left_share=self.max_left_share)
        for name, value in report.as_dict().items():
            self.log.info("%-10s%25s", name, value)
        if extract.unreadable:
            self.log.warning("%s rows of this list hold no number in E.164", f"{extract.unreadable:,}")
        return report.as_dict()

    def _list_id(self) -> str:
        return read_id("list_id", self.list_id, "the id of a Vibes subscription list, as its page shows it")

    def _check_literals(self, *, rendered: bool = False) -> None:
        if rendered or is_literal(self.list_id):
            self._list_id()
        if rendered or is_literal(self.extract):
            read_id("extract", self.extract, "the file that Vibes delivered, or the folder it lies in")
        if not isinstance(self.max_age, timedelta) or self.max_age <= timedelta():
            raise InvalidInput("max_age", self.max_age, "a time such as timedelta(hours=36)")
        if not isinstance(self.max_left_share, int | float) or not 0 <= self.max_left_share <= 1:
            raise InvalidInput("max_left_share", self.max_left_share, "a share from 0 to 1, such as 0.2")
