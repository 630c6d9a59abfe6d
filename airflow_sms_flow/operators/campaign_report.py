"""Campaign Report: what a step came to over all its shards, adding up also where one failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators._base import SmsFlowOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.core.campaign_report import CampaignReport


class CampaignReportOperator(SmsFlowOperator):
    """Add up the reports of a mapped step; returns one report, with the funnel of the preparation.

    `rows` = `accepted` + `already` + `refused` + `skipped` + `in_doubt` + `failed` + `unreported`, where
    `unreported` are the people of shards that ended without a report: the ledger knows who of them was
    reached, and the next try of that shard tells.

    Runs also when a shard failed (`trigger_rule="all_done"`), and fails after it has pushed the report when
    somebody is failed or unreported: as the last task it decides the state of the run, which must not be
    green then. Clear the failed tasks with what follows them; nobody who was reached is reached again.

    :param audience: the output of the preparation, `prepare.output`.
    :param funnel: its XCom key `funnel`, `prepare.output["funnel"]`; without shards it is in the output.
    :param reports: the output of the step, `send.output`.
    """

    template_fields: Sequence[str] = ("audience", "funnel", "reports")
    ui_color = "#fef9c3"

    def __init__(
        self,
        *,
        audience: Any,
        reports: Any,
        funnel: Any = None,
        trigger_rule: str = "all_done",
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        self.audience = audience
        self.funnel = funnel
        self.reports = reports

    def run(self, context: Context) -> dict[str, Any]:
        """Add up, say, push; then fail if something is left to do."""
        report = self._add_up()
        for line in report.lines():
            self.log.info(line)
        if not report.is_whole:
            from airflow.providers.common.compat.sdk import AirflowFailException

            context["ti"].xcom_push(key="return_value", value=report.as_dict())
            raise AirflowFailException(_what_is_left(report))
        return report.as_dict()

    def _add_up(self) -> CampaignReport:
        from airflow_sms_flow.core.campaign_report import add_up
        from airflow_sms_flow.core.rules import Funnel

        shards = _several("audience", self.audience)
        if not shards:
            raise InvalidInput("audience", None, "the preparation gave nothing, so nobody was reached")
        # Without shards the reference itself has the funnel.
        funnel = self.funnel if self.funnel is not None else shards[0].get("funnel")
        if not isinstance(funnel, Mapping):
            remedy = 'give prepare.output["funnel"] beside audience=prepare.output'
            raise InvalidInput("funnel", type(funnel).__name__, remedy)
        rows = [int(shard["rows"]) for shard in shards]
        return add_up(Funnel.from_dict(funnel), rows, _several("reports", self.reports))


def _several(field: str, value: Any) -> list[Mapping[str, Any]]:
    """What tasks returned: one mapping, or a list of them; None where they gave nothing."""
    if value is None or isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInput(field, type(value).__name__, "give the output of a task")
    found = [one for one in value if one is not None]
    if not all(isinstance(one, Mapping) and "rows" in one for one in found):
        remedy = "give audience=prepare.output, the output of the preparation, and reports=send.output"
        raise InvalidInput(field, type(value).__name__, remedy)
    return found


def _what_is_left(report: CampaignReport) -> str:
    left = []
    if failed := report.counts["failed"]:
        left.append(f"{failed:,} people could not be reached for a passing reason")
    if missing := report.shards - report.reported:
        left.append(
            f"{missing} of {report.shards} shards ended without a report ({report.unreported:,} people)"
        )
    return f"{'; '.join(left)}. Clear the failed tasks with what follows: nobody is reached a second time"
