"""Register Vibes Callbacks: have Vibes tell us what happens."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_flag
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.core.registrations import Subjects


class RegisterVibesCallbacksOperator(SmsFlowOperator):
    """Have Vibes call this Airflow back about lists, campaigns, texts and replies; may run again and again.

    What stands and leads here is left alone; what lacks is registered. A registration of ours with an older
    secret is replaced. One that leads elsewhere stays beside ours, and is reported.

    :param lists: Vibes lists: who joins and leaves, and what becomes of the texts that Send SMS Message
        sends there. A list, one id, or text with commas; so are the next three.
    :param acquisition_campaigns: whose questions and answers to hear, which spares the opt-in sensor polls.
    :param event_types: of event-triggered campaigns of your own: what becomes of their texts.
    :param source_codes: whose replies to hear that no campaign took for itself. Vibes tells them to the
        company that is a code's main account alone.
    :param vibes_conn_id: a connection of the type Vibes, with `callback_secrets`.
    :param callback_url: the API server's address as Vibes reaches it. Default: `[sms_flow] callback_url`.
    :param replace: also remove registrations of the same things that lead elsewhere, once ours stand.
    :param check_arrival: have Vibes fire its test event, one per type that has one, and wait for it. Whoever
        else is registered for the same gets it, too; here it is kept and never applied.
    :param arrival_timeout: how long to wait for the test events.

    Returns {"registered": n, "standing": n, "replaced": n, "elsewhere": [{"callback_type", "subject", "to"}],
    "arrived": {callback type: true}}, without secrets. A wrong list, campaign or address, and an account
    without room (Vibes allows 50), fail before anything is created and without retries; a test event that
    does not arrive fails the task with what to check, and leaves the registrations standing.
    """

    template_fields: Sequence[str] = (
        "lists",
        "acquisition_campaigns",
        "event_types",
        "source_codes",
        "vibes_conn_id",
        "callback_url",
        "replace",
        "check_arrival",
    )
    ui_color = "#fef3c7"

    # Made in the task itself: an event cannot be copied, and Airflow copies operators.
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        lists: Sequence[str | int] | str | int = (),
        acquisition_campaigns: Sequence[str] | str = (),
        event_types: Sequence[str] | str = (),
        source_codes: Sequence[str | int] | str | int = (),
        vibes_conn_id: str = "vibes_default",
        callback_url: str | None = None,
        replace: bool | str = False,
        check_arrival: bool | str = True,
        arrival_timeout: timedelta = timedelta(minutes=2),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lists = lists
        self.acquisition_campaigns = acquisition_campaigns
        self.event_types = event_types
        self.source_codes = source_codes
        self.vibes_conn_id = vibes_conn_id
        self.callback_url = callback_url
        self.replace = replace
        self.check_arrival = check_arrival
        self.arrival_timeout = arrival_timeout
        if not isinstance(arrival_timeout, timedelta) or arrival_timeout <= timedelta(0):
            raise InvalidInput(
                "arrival_timeout", arrival_timeout, "give a time, such as timedelta(minutes=2)"
            )
        if all(map(is_literal, (lists, acquisition_campaigns, event_types, source_codes))):
            self._subjects()

    def run(self, context: Context) -> dict[str, Any]:
        """Look up, register, test."""
        subjects = self._subjects()
        replace, check = read_flag("replace", self.replace), read_flag("check_arrival", self.check_arrival)
        from airflow_sms_flow.hooks.callbacks import callback_address
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.steps.callback_arrival import ArrivalCheck, register_and_check
        from airflow_sms_flow.steps.callback_plan import CallbackAddress
        from airflow_sms_flow.steps.registrations import Registrar, check_address, checked_needs, name_lists

        self._stop = threading.Event()
        stop = self._stop.is_set
        hook = VibesHook(self.vibes_conn_id)
        # Jinja writes an empty Param as "None".
        base_url = None if self.callback_url == "None" else self.callback_url
        address = CallbackAddress(callback_address(self.vibes_conn_id, base_url))
        check_address(address, hook.base_url)
        with closing(open_ledger()) as ledger, hook.sharing_client(ledger, stop=stop) as client:
            needs = checked_needs(client, subjects)
            name_lists(client, ledger, hook.company_key, subjects)
            done, arrived = register_and_check(
                Registrar(client, address, self.log.info, stop),
                ArrivalCheck(client, ledger, hook.company_key, self.log.info, self.log.warning, stop)
                if check
                else None,
                needs,
                replace_others=replace,
                timeout_seconds=self.arrival_timeout.total_seconds(),
            )
        report = done.report(address)
        self._tell(report)
        return {**report, "arrived": arrived}

    def on_kill(self) -> None:
        """What is registered stands; the next try goes on from there."""
        if self._stop is not None:
            self._stop.set()

    def _subjects(self) -> Subjects:
        from airflow_sms_flow.core.registrations import Subjects

        return Subjects.read(self.lists, self.acquisition_campaigns, self.event_types, self.source_codes)

    def _tell(self, report: dict[str, Any]) -> None:
        self.log.info("%(registered)s callbacks registered, %(standing)s stood, %(replaced)s removed", report)
        for one in report["elsewhere"]:
            self.log.warning(
                "%(callback_type)s of %(subject)s leads to %(to)s, too: replace=True removes that", one
            )
