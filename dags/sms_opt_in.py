"""
### Invite a smart list to a Vibes list

Vibes asks each person of the smart list once whether they want texts, through the **acquisition campaign** of
the list. They have 24 hours to answer **Y**. The run waits without using a worker, then welcomes those who
said yes: once, ever, whichever run it was that asked.

*Dry run* is ticked until you untick it: everything is checked, nobody is asked.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.operators import (
    ExtractSmartListOperator,
    PrepareAudienceOperator,
    SendSmsMessageOperator,
    SubscribeToVibesListOperator,
)
from airflow_sms_flow.params import list_id_param
from airflow_sms_flow.sensors import VibesOptInSensor

WELCOME = SmsMessage("Welcome {{lead.First Name:default=aboard}}! You will hear from us about once a week.")

with DAG(
    dag_id="sms_opt_in",
    schedule="0 12 * * *",  # in the time zone of start_date: people are awake
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "smart_list": Param("Invite to Store news", type="string", minLength=1, title="Smart list",
                            description="Name or id of a smart list in Marketo."),
        "list_id": list_id_param("1201", description="What people are asked to join."),
        "acquisition_campaign_id": Param("NEWS1201", type="string", minLength=1, title="Acquisition campaign",
                                         description="Of this very list; it holds the question."),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Check everything, ask nobody."),
        "on_backfill": Param("skip", enum=["skip", "send"], type="string", title="In a backfill",
                             values_display={"skip": "ask nobody", "send": "ask whoever was not asked yet"}),
    },
) as dag:  # fmt: skip
    extract = ExtractSmartListOperator(
        task_id="extract", smart_list=dag.param("smart_list"), fields=("firstName", "lastName")
    )
    prepare = PrepareAudienceOperator(task_id="prepare", audience=extract.output)
    subscribe = SubscribeToVibesListOperator(
        task_id="subscribe",
        audience=prepare.output,
        list_id=dag.param("list_id"),
        acquisition_campaign_id=dag.param("acquisition_campaign_id"),
        dry_run=dag.param("dry_run"),
        on_backfill=dag.param("on_backfill"),
    )
    wait = VibesOptInSensor(
        task_id="wait",
        audience=subscribe.output["pending"],
        list_id=dag.param("list_id"),
        acquisition_campaign_id=dag.param("acquisition_campaign_id"),
    )
    welcome = SendSmsMessageOperator(
        task_id="welcome",
        audience=wait.output["confirmed"],
        list_id=dag.param("list_id"),
        message=WELCOME,
        campaign_key="once:welcome",
        dry_run=dag.param("dry_run"),
        on_backfill=dag.param("on_backfill"),
    )

    @task
    def summary(audience: dict, asked: dict, answers: dict, welcomed: dict) -> dict:
        """Everybody of the smart list, accounted for."""
        return {"funnel": audience["funnel"], "asked": asked, "answers": answers, "welcomed": welcomed}

    summary(prepare.output, subscribe.output, wait.output, welcome.output)
