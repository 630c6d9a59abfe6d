"""
### Send a text to a large smart list, in parallel

As *Send a text to a smart list*, for hundreds of thousands of people: the audience is prepared in **shards**,
each shard is sent by a task of its own, and a last task adds up what became of everybody.

*Dry run* is ticked until you untick it: everything is checked, nobody is texted.
When a shard fails, the report says how many people are left, and the run is red: clear the failed tasks with
what follows them. Nobody is texted twice.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from airflow_sms_flow.operators import (
    CampaignReportOperator,
    ExtractSmartListOperator,
    PrepareAudienceOperator,
    SendSmsMessageOperator,
)
from airflow_sms_flow.params import list_id_param, sending_pool

MESSAGE = "Hi {{lead.First Name:default=there}}, our summer sale starts on Friday. Reply STOP to opt out."

with DAG(
    dag_id="sms_campaign_sharded",
    schedule="0 12 * * *",  # in the time zone of start_date: people are awake
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
        "shards": Param(4, type="integer", minimum=1, maximum=100, title="Shards",
                        description="How many tasks send. All of them together keep to Vibes' rates."),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Check everything, text nobody."),
        "on_backfill": Param("skip", enum=["skip", "send"], type="string", title="In a backfill",
                             values_display={"skip": "text nobody", "send": "text once per day backfilled"}),
    },
) as dag:  # fmt: skip
    extract = ExtractSmartListOperator(
        task_id="extract", smart_list=dag.param("smart_list"), fields=("firstName", "lastName")
    )
    # Several lists, exported side by side: audience=[one.output, other.output].
    prepare = PrepareAudienceOperator(task_id="prepare", audience=extract.output, shards=dag.param("shards"))
    send = SendSmsMessageOperator.partial(
        task_id="send",
        # Of a mapped task Airflow stores where a dag.param() lies in memory: a new version at each parse.
        list_id="{{ params.list_id }}",
        message="{{ params.message }}",
        dry_run="{{ params.dry_run }}",
        on_backfill="{{ params.on_backfill }}",
        pool=sending_pool(),  # [sms_flow] pool: how many tasks of all SMS DAGs send at once
        max_active_tis_per_dagrun=4,  # and how many of this run
    ).expand(audience=prepare.output)
    CampaignReportOperator(
        task_id="report",
        audience=prepare.output,
        funnel=prepare.output["funnel"],
        reports=send.output,
    )
