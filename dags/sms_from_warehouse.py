"""
### Send a text to people from the data warehouse

A **SQL query** takes the place of the smart list. Its rows become the audience, with a few rules on top: only
the countries we write to, nobody who asked for no texts, a tenth kept back to measure what the text brings,
and no run at all if the query finds far more people than anybody meant. Those of them who are on the
**Vibes list** right now are texted.

*Dry run* is ticked until you untick it: everything is checked, nobody is texted.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.operators import (
    ExtractQueryOperator,
    PrepareAudienceOperator,
    SendSmsMessageOperator,
)
from airflow_sms_flow.params import list_id_param

CUSTOMERS = """
SELECT customer_id, cell, country, given_name, no_texts
FROM customers
WHERE last_order < '2026-01-01'
"""
MESSAGE = SmsMessage("Hi {{lead.First Name:default=there}}, we miss you: 20% off until Sunday.")

with DAG(
    dag_id="sms_from_warehouse",
    schedule="0 13 * * *",  # in the time zone of start_date: people are awake
    start_date=pendulum.datetime(2026, 1, 1, tz="America/New_York"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "list_id": list_id_param("1201", description="Only its members are texted."),
        "max_recipients": Param(50_000, type="integer", minimum=1, title="At most",
                                description="More people than these are a mistake: nobody is texted."),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Check everything, text nobody."),
        "on_backfill": Param("skip", enum=["skip", "send"], type="string", title="In a backfill",
                             values_display={"skip": "text nobody", "send": "text whoever was not yet"}),
    },
) as dag:  # fmt: skip
    extract = ExtractQueryOperator(
        task_id="extract",
        conn_id="warehouse",  # any connection to a database
        sql=CUSTOMERS,
        columns={
            "id": "customer_id",
            "mobilePhone": "cell",
            "country": "country",
            "firstName": "given_name",
            "noTexts": "no_texts",
        },
    )
    prepare = PrepareAudienceOperator(
        task_id="prepare",
        audience=extract.output,
        suppress=["noTexts"],
        where=[("country", "in", ["US", "CA"])],
        holdout=0.1,
        holdout_name="win-back",
        max_recipients=dag.param("max_recipients"),
    )
    send = SendSmsMessageOperator(
        task_id="send",
        audience=prepare.output,
        list_id=dag.param("list_id"),
        message=MESSAGE,
        campaign_key="once:win-back",  # nobody gets it twice, whichever day the query finds them
        dry_run=dag.param("dry_run"),
        on_backfill=dag.param("on_backfill"),
    )

    @task
    def summary(audience: dict, report: dict) -> dict:
        """Everybody whom the query found, accounted for."""
        return {"funnel": audience["funnel"], "sent": report["accepted"], "report": report}

    summary(prepare.output, send.output)
