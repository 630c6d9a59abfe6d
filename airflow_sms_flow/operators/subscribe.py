"""Subscribe to Vibes List."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_sms_flow.core.delivery import ONCE_PREFIX, DeliveryState, StepName
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.values import read_choice, read_id
from airflow_sms_flow.operators._base import is_literal
from airflow_sms_flow.operators._flow_step import FlowStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.core.delivery import Campaign
    from airflow_sms_flow.courier import Plan
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.ledger.ledger import DeliveryRow
    from airflow_sms_flow.results import Pick
    from airflow_sms_flow.steps.step import Step

_DONE = (DeliveryState.ACCEPTED, DeliveryState.ALREADY)


def _is_pending(row: DeliveryRow) -> bool:
    return row.state in _DONE and row.reason == "pending"


def _was_subscribed(row: DeliveryRow) -> bool:
    return row.state is DeliveryState.ACCEPTED and row.reason == "subscribed"


def _had_subscribed(row: DeliveryRow) -> bool:
    return row.state is DeliveryState.ALREADY and row.reason == "subscribed"


class SubscribeToVibesListOperator(FlowStepOperator):
    """Have Vibes ask each person once whether they want to be on the list; they must answer Y.

    Returns the step report. Further XCom keys: `pending` (asked, with `expire_date` in UTC; for the sensor),
    `subscribed` (by a campaign that asks nothing), `already` (were on the list), `results`.

    :param acquisition_campaign_id: an active acquisition campaign of this very list.
    :param ask_again_after: ask those again who were asked longer ago than this; None: silence is an answer.
    :param opted_out: "refuse" never asks somebody whose newest record on the list is an opt-out; "ask" does.
    """

    template_fields: Sequence[str] = (
        *FlowStepOperator.template_fields,
        "acquisition_campaign_id",
        "opted_out",
    )
    step_name: ClassVar[StepName] = StepName.SUBSCRIBE
    audiences: ClassVar[Mapping[str, Pick]] = {
        "pending": _is_pending,
        "subscribed": _was_subscribed,
        "already": _had_subscribed,
    }

    def __init__(
        self,
        *,
        acquisition_campaign_id: str,
        ask_again_after: timedelta | None = None,
        opted_out: str = "refuse",
        **kwargs: Any,
    ) -> None:
        self.acquisition_campaign_id = acquisition_campaign_id
        self.ask_again_after = ask_again_after
        self.opted_out = opted_out
        super().__init__(**kwargs)

    def default_campaign_key(self, context: Context) -> str:
        """Once per acquisition campaign, whichever DAG asks."""
        return f"{ONCE_PREFIX}{self._acquisition_campaign_id()}"

    def make_step(self, client: VibesClient, path: str, ledger: Ledger | None) -> Step:
        """Check that list and campaign belong together."""
        from airflow_sms_flow.steps.subscribe import SubscribeStep, check_acquisition_campaign

        list_id, campaign_id = self._list_id(), self._acquisition_campaign_id()
        check_acquisition_campaign(client, list_id, campaign_id)
        return SubscribeStep(client, list_id, campaign_id, self.opted_out)

    def plan(self, context: Context, campaign: Campaign, step: Step) -> Plan:
        """With the time after which a question may be repeated."""
        from dataclasses import replace

        return replace(super().plan(context, campaign, step), ask_again_after=self.ask_again_after)

    def _acquisition_campaign_id(self) -> str:
        remedy = "the id of an acquisition campaign of the list, as its page in Vibes shows it"
        return read_id("acquisition_campaign_id", self.acquisition_campaign_id, remedy)

    def _check_literals(self, *, rendered: bool = False) -> None:
        super()._check_literals(rendered=rendered)
        if rendered or is_literal(self.acquisition_campaign_id):
            self._acquisition_campaign_id()
        if rendered or is_literal(self.opted_out):
            read_choice("opted_out", self.opted_out, ("refuse", "ask"))
        if self.ask_again_after is not None and self.ask_again_after < timedelta(hours=24):
            raise InvalidInput(
                "ask_again_after", str(self.ask_again_after), "a question stands for a day: 24 hours or more"
            )
