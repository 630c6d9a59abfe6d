"""
### Send a text to several smart lists as one audience

For audiences that are too large for one export or one preparation: each smart list is exported and prepared
by tasks of its own, side by side, and the pieces are **merged** before anybody is texted. A number in two
lists gets one text, and whoever is suppressed in one list is suppressed in all.

*Dry run* is ticked until you untick it: everything is checked, nobody is texted.
When a list cannot be exported, nothing is sent: it might hold people who must not be texted.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_sms_flow.operators import (
    CampaignReportOperator,
    ExtractSmartListOperator,
    MergeAudiencesOperator,
    PrepareAudienceOperator,
    SendSmsMessageOperator,
)
from airflow_sms_flow.params import list_id_param, sending_pool

MESSAGE = "Hi {{lead.First Name:default=there}}, our summer sale starts on Friday. Reply STOP to opt out."

with DAG(
    dag_id="sms_campaign_merged",
    schedule="0 13 * * *",  # in the time zone of start_date: people are awake
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "smart_lists": Param(["Summer offer audience", "Invite to Store news"], type="array",
                             title="Smart lists", items={"type": "string", "minLength": 1}, minItems=1,
                             uniqueItems=True,
                             description="Names or ids of smart lists in Marketo, one a line."),
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

    @task
    def smart_lists(params: dict[str, list[str]]) -> list[str]:
        """What the form says, to map over."""
        return params["smart_lists"]

    extract = ExtractSmartListOperator.partial(
        task_id="extract",
        fields=("firstName", "lastName"),
        max_active_tis_per_dagrun=2,  # Marketo runs two exports at once, for everybody together
    ).expand(smart_list=smart_lists())
    prepare = PrepareAudienceOperator.partial(task_id="prepare").expand(audience=extract.output)
    merge = MergeAudiencesOperator(task_id="merge", audiences=prepare.output, shards=dag.param("shards"))
    send = SendSmsMessageOperator.partial(
        task_id="send",
        # Of a mapped task Airflow stores where a dag.param() lies in memory: a new version at each parse.
        list_id="{{ params.list_id }}",
        message="{{ params.message }}",
        dry_run="{{ params.dry_run }}",
        on_backfill="{{ params.on_backfill }}",
        pool=sending_pool(),  # [sms_flow] pool: how many tasks of all SMS DAGs send at once
        max_active_tis_per_dagrun=4,  # and how many of this run
    ).expand(audience=merge.output)
    CampaignReportOperator(
        task_id="report", audience=merge.output, funnel=merge.output["funnel"], reports=send.output
    )
