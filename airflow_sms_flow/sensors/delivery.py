"""Wait for delivery receipts: until most texts of a campaign have arrived or bounced, or long enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_sms_flow.core.delivery import StepName, check_campaign_key
from airflow_sms_flow.core.delivery_wait import read_min_final, read_wait_at_most
from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.core.values import read_flag, read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal
from airflow_sms_flow.operators._errors import translated_errors
from airflow_sms_flow.sensors._waiting import read_times, time_out

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.core.delivery import Campaign
    from airflow_sms_flow.ledger import Ledger

_WHICH = "say which campaign: report=send.output, the output of a Send task, or campaign_key and list_id"


class SmsDeliverySensor(SmsFlowOperator, BaseSensorOperator):
    """Wait until Vibes has told what became of a campaign's texts, or until that has taken long enough.

    Returns `{"sent", "delivered", "on_handset", "bounced_soft", "bounced_hard", "unknown", "refused_late",
    "delivery_rate", "bounce_rate", "soft_bounce_rate", "hard_bounce_rate", "complete"}`: messages, and shares
    of those sent; see `core.receipts.DeliveryReport`. `complete`: it was not `wait_at_most` that ended the
    wait.

    A text has its final state when the carrier or the phone has it, when it bounced, or when Vibes refused it
    after all. Counted are the texts that Vibes took: who was refused before is not waited for, and who is in
    doubt only once their doubt is settled. Where there is nothing to wait for, as after a dry run, the sensor
    succeeds at once.

    It asks the ledger alone, which knows what callbacks and `SyncDeliveriesOperator` told: without either,
    every wait lasts `wait_at_most`. The worker is free meanwhile; the triggerer needs access to the ledger.

    Give `report` alone, or `campaign_key` and `list_id`.

    :param report: the step report of a Send task, `send.output`.
    :param campaign_key: as the step report shows it.
    :param list_id: the Vibes subscription list that the texts went to.
    :param min_final: the share of messages, from 0 to 1, that is enough.
    :param wait_at_most: a timedelta, or seconds, from the start of the try; then the sensor succeeds with
        what is known, for a receipt may never come.
    :param deferrable: False looks in the worker, in the `mode` that sensors have.
    :param vibes_conn_id: a connection of the type Vibes; names the company.
    :param poke_interval: seconds, or a timedelta, between the first looks; later ones are up to five minutes
        apart.
    :param timeout: as with every sensor: past it the task fails without retries, or is skipped with
        `soft_fail`. Matters only where it is less than `wait_at_most`, or where nothing can look.
    """

    template_fields: Sequence[str] = (
        "report",
        "campaign_key",
        "list_id",
        "min_final",
        "wait_at_most",
        "vibes_conn_id",
    )
    ui_color = "#fef9c3"

    # Of a wait in the worker; a deferred one hands it on.
    _until: datetime | None = None

    def __init__(
        self,
        *,
        report: Any = None,
        campaign_key: str | None = None,
        list_id: str | None = None,
        min_final: float | str = 0.95,
        wait_at_most: timedelta | float | str = timedelta(hours=6),
        deferrable: bool = True,
        vibes_conn_id: str = "vibes_default",
        poke_interval: timedelta | float = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.report = report
        self.campaign_key = campaign_key
        self.list_id = list_id
        self.min_final = min_final
        self.wait_at_most = wait_at_most
        self.deferrable = read_flag("deferrable", deferrable)
        self.vibes_conn_id = vibes_conn_id
        self._check_parameters()

    # -- what Airflow calls ----------------------------------------------------------------------------------

    def run(self, context: Context) -> Any:
        """The first look, and everything that wrong input can be told by; called by `execute`."""
        self._check_parameters(rendered=True)
        if self._reached_nobody():
            self.log.info("The Send task reached nobody: there is nothing to wait for")
            return self._finish(DeliveryReport(), complete=True)
        if self.deferrable:
            return self._look_or_wait(None, None)
        self._until = self._began(context) + read_wait_at_most(self.wait_at_most)
        return BaseSensorOperator.execute(self, context)

    def resume(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Look again, since the trigger found it worthwhile."""
        with translated_errors():
            self._check_parameters(rendered=True)
            return self._look_or_wait(*read_times(event, "until", "deadline"))

    def poke(self, context: Context) -> PokeReturnValue:
        """One look in the worker, for `deferrable=False`."""
        from airflow_sms_flow.hooks.ledger import open_ledger

        with translated_errors(), closing(open_ledger()) as ledger:
            until = self._until or self.now(ledger) + read_wait_at_most(self.wait_at_most)
            found = self._look(ledger, self._campaign(), until)
        return PokeReturnValue(found is not None, found)

    def now(self, ledger: Ledger) -> datetime:
        """Aware UTC; the database's, so that a worker whose clock is wrong decides nothing."""
        return ledger.now()

    # -- looking and waiting ---------------------------------------------------------------------------------

    def _look_or_wait(self, until: datetime | None, deadline: datetime | None) -> dict[str, Any]:
        """`until`: when to succeed with what is known; `deadline`: when to time out. None: the wait begins
        just now."""
        from airflow_sms_flow.hooks.ledger import open_ledger

        campaign = self._campaign()
        with closing(open_ledger()) as ledger:
            at = self.now(ledger)
            until = until or at + read_wait_at_most(self.wait_at_most)
            deadline = deadline or at + timedelta(seconds=self.timeout)
            found = self._look(ledger, campaign, until)
            if found is None:
                self._wait(campaign, until, deadline, deadline - self.now(ledger))
        return found

    def _wait(
        self, campaign: Campaign, until: datetime, deadline: datetime, remaining: timedelta
    ) -> NoReturn:
        """Give the worker free until the trigger fires."""
        if remaining <= timedelta():
            time_out(self, "Too few messages had their final state")
        from airflow_sms_flow.triggers.delivery import SmsDeliveryTrigger

        trigger = SmsDeliveryTrigger(
            company_key=campaign.company_key,
            campaign_key=campaign.campaign_key,
            list_id=campaign.list_id,
            min_final=read_min_final(self.min_final),
            poll_interval_seconds=self.poke_interval,
            until=until.isoformat(),
            deadline=deadline.isoformat(),
        )
        # Airflow counts this from now on anew, and does not apply the sensor's own timeout to a deferral.
        self.defer(trigger=trigger, method_name="resume", timeout=remaining)

    def _look(self, ledger: Ledger, campaign: Campaign, until: datetime) -> dict[str, Any] | None:
        """Ask the ledger; the report where that ends the wait, else None."""
        ledger.hear_all()
        report = ledger.delivery_report(campaign)
        self._check_known(campaign, report)
        if report.final_share >= read_min_final(self.min_final):
            return self._finish(report, complete=True)
        if self.now(ledger) >= until:
            self.log.warning("The wait has lasted wait_at_most: going on with what is known%s", _hint(report))
            return self._finish(report, complete=False)
        self.log.info(
            "%s of %s messages have their final state",
            f"{report.final:,}",
            f"{report.sent + report.refused_late:,}",
        )
        return None

    def _finish(self, report: DeliveryReport, *, complete: bool) -> dict[str, Any]:
        for line in report.lines():
            self.log.info(line)
        return report.as_dict() | {"complete": complete}

    def _check_known(self, campaign: Campaign, report: DeliveryReport) -> None:
        """Another ledger than Send's, or another company's account, would look like an empty campaign."""
        if report.sent or report.refused_late:
            return
        step_report = self.report if isinstance(self.report, Mapping) else {}
        if step_report.get("accepted", 0) + step_report.get("already", 0):
            raise ConfigError(
                f"the ledger knows of no message to list {campaign.list_id} under the key "
                f"{campaign.campaign_key!r} at company {campaign.company_key}, though the report tells of "
                f"some: give this sensor the vibes_conn_id of the Send task, and all workers the same "
                f"[sms_flow] ledger_conn_id"
            )
        self.log.warning("The ledger knows of no message under the key %r", campaign.campaign_key)

    def _began(self, context: Context) -> datetime:
        """The start of the try, however often it was rescheduled since."""
        first = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        return first or datetime.now(UTC)

    # -- parameters ------------------------------------------------------------------------------------------

    def _reached_nobody(self) -> bool:
        """Of a dry run, of a backfill that was skipped."""
        report = self.report
        return isinstance(report, Mapping) and report["rows"] == sum(report["skipped"].values())

    def _campaign(self) -> Campaign:
        from airflow_sms_flow.core.delivery import Campaign
        from airflow_sms_flow.hooks.vibes import VibesHook

        key, list_id = self._which()
        return Campaign(VibesHook(self.vibes_conn_id).company_key, key, StepName.SEND, list_id)

    def _which(self) -> tuple[str, str]:
        """The campaign key and the list, or `InvalidInput`."""
        if self.report is not None:
            return _read_report(self.report)
        remedy = "the id of the Vibes subscription list that the texts went to"
        return check_campaign_key(self.campaign_key), read_id("list_id", self.list_id, remedy)

    def _check_parameters(self, *, rendered: bool = False) -> None:
        """What can be known while the DAG file is parsed is refused there; the rest once it is rendered."""
        by_key = self.campaign_key is not None or self.list_id is not None
        if self.report is None and not by_key:
            raise InvalidInput("report", None, _WHICH)
        if self.report is not None and by_key:
            field = "list_id" if self.campaign_key is None else "campaign_key"
            remedy = "the report names campaign key and list already: leave out one of the two"
            raise InvalidInput(field, getattr(self, field), remedy)
        if rendered or _is_known(self.report, self.campaign_key, self.list_id):
            self._which()
        if rendered or is_literal(self.min_final):
            read_min_final(self.min_final)
        if rendered or _is_known(self.wait_at_most):
            read_wait_at_most(self.wait_at_most)


def _is_known(*values: object) -> bool:
    return all(
        _is_known(*value)
        if isinstance(value, list | tuple)
        else is_literal(value) or isinstance(value, Mapping | timedelta)
        for value in values
    )


def _read_report(report: object) -> tuple[str, str]:
    """The campaign key and the list of a step report."""
    if isinstance(report, Mapping):
        step, rows, skipped = report.get("step"), report.get("rows"), report.get("skipped")
        if step == StepName.SEND.value and isinstance(rows, int) and isinstance(skipped, Mapping):
            return check_campaign_key(report.get("campaign_key")), read_id(
                "report", report.get("list_id"), _WHICH
            )
        raise InvalidInput("report", step, "must be the step report of a Send task: only texts are delivered")
    kind = type(report).__name__
    if isinstance(report, Sequence) and not isinstance(report, str):
        remedy = "the reports of a mapped Send task are waited for one by one: .expand(report=send.output)"
        raise InvalidInput("report", kind, remedy)
    raise InvalidInput("report", kind, _WHICH)


def _hint(report: DeliveryReport) -> str:
    if report.final:
        return ""
    return ". Not one receipt came: are Vibes' callbacks registered (RegisterVibesCallbacksOperator)?"
