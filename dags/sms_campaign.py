"""
### Send a text to a smart list

Takes the people of a Marketo **smart list**, keeps those who may be texted (one message per number, nobody
who is blocklisted or marketing suspended), and texts those of them who are on the **Vibes list** right now.

*Dry run* is ticked until you untick it: everything is checked, nobody is texted.
A retry, a cleared task and a backfill of a day already sent text nobody twice.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_sms_flow.operators import (
    ExtractSmartListOperator,
    PrepareAudienceOperator,
    SendSmsMessageOperator,
)
from airflow_sms_flow.params import list_id_param

MESSAGE = "Hi {{lead.First Name:default=there}}, our summer sale starts on Friday. Reply STOP to opt out."

with DAG(
    dag_id="sms_campaign",
    schedule="0 11 * * *",  # in the time zone of start_date: people are awake
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "smart_list": Param("Summer offer audience", type="string", minLength=1, title="Smart list",
                            description="Name or id of a smart list in Marketo."),
        "list_id": list_id_param("1201", description="Only its members are texted."),
        "message": Param(MESSAGE, type="string", title="Message", format="multiline", minLength=1,
                         description_md="Marketo's tokens work: `{{lead.First Name:default=there}}`."),
        "campaign": Param(None, type=["null", "string"], minLength=1, title="Campaign key",
                          description="Nobody gets two texts under one key. Empty: one text per run."),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Check everything, text nobody."),
        "on_backfill": Param("skip", enum=["skip", "send"], type="string", title="In a backfill",
                             values_display={"skip": "text nobody", "send": "text once per day backfilled"}),
    },
) as dag:  # fmt: skip
    extract = ExtractSmartListOperator(
        task_id="extract", smart_list=dag.param("smart_list"), fields=("firstName", "lastName")
    )
    prepare = PrepareAudienceOperator(task_id="prepare", audience=extract.output)
    send = SendSmsMessageOperator(
        task_id="send",
        audience=prepare.output,
        list_id=dag.param("list_id"),
        message=dag.param("message"),
        campaign_key=dag.param("campaign"),
        dry_run=dag.param("dry_run"),
        on_backfill=dag.param("on_backfill"),
    )

    @task
    def summary(audience: dict, report: dict) -> dict:
        """Everybody of the smart list, accounted for."""
        return {"funnel": audience["funnel"], "sent": report["accepted"], "report": report}

    summary(prepare.output, send.output)
