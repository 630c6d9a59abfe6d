"""
### Welcome whoever joins a Vibes list

However they joined: by a keyword, a web form, or the DAG *sms_opt_in*. Vibes calls back, the asset rings, and
this DAG greets everybody who is new, once, ever. The timer beside the asset finds whom the bell missed.

It needs callbacks, see *Hear what Vibes says* in the README: `python -m airflow_sms_flow callbacks register`.

*Dry run* is ticked until you untick it, here or in this file: it shows who would be greeted, and leaves them
for the first run that is not dry.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.assets import subscribed
from airflow_sms_flow.operators import NewSubscribersOperator, SendSmsMessageOperator

COMPANY_KEY = "acme"  # as in the Vibes connection
LIST_ID = "1201"
WELCOME = SmsMessage("Welcome to Store news! You will hear from us about once a week. Reply STOP to leave.")

with DAG(
    dag_id="sms_welcome",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
        assets=[subscribed(COMPANY_KEY, LIST_ID)],
    ),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["sms"],
    params={
        "dry_run": Param(True, type="boolean", title="Dry run", description="Look, greet nobody."),
    },
) as dag:
    new = NewSubscribersOperator(task_id="new", list_id=LIST_ID, dry_run=dag.param("dry_run"))
    SendSmsMessageOperator(
        task_id="welcome",
        audience=new.output,
        list_id=LIST_ID,
        message=WELCOME,
        # The key of sms_opt_in, too: whom that DAG has welcomed is not welcomed again.
        campaign_key="once:welcome",
        dry_run=dag.param("dry_run"),
    )
