"""
### Take a smart list off a Vibes list

Unsubscribes each person of the smart list, blocklisted people included: they most need to leave.
People without a valid number are tried by their Marketo id.

*Dry run* is ticked until you untick it: everything is checked, nobody is taken off.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from airflow_sms_flow.operators import ExtractSmartListOperator, UnsubscribeFromVibesListOperator
from airflow_sms_flow.params import list_id_param

with DAG(
    dag_id="sms_opt_out",
    schedule="30 10 * * *",  # in the time zone of start_date: people are awake
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "smart_list": Param("Leaving customers", type="string", minLength=1, title="Smart list",
                            description="Name or id of a smart list in Marketo."),
        "list_id": list_id_param("1201", description="What people are taken off."),
        "campaign": Param(None, type=["null", "string"], minLength=1, title="Campaign key",
                          description="Nobody is tried twice under one key. Empty: one key per run."),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Check all, change nothing."),
        "on_backfill": Param("skip", enum=["skip", "send"], type="string", title="In a backfill",
                             values_display={"skip": "change nothing", "send": "take people off"}),
    },
) as dag:  # fmt: skip
    extract = ExtractSmartListOperator(task_id="extract", smart_list=dag.param("smart_list"), fields=())
    UnsubscribeFromVibesListOperator(
        task_id="unsubscribe",
        audience=extract.output,
        list_id=dag.param("list_id"),
        campaign_key=dag.param("campaign"),
        dry_run=dag.param("dry_run"),
        on_backfill=dag.param("on_backfill"),
    )
