"""One send of an audience that lies ready, for the test that kills it."""

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_sms_flow import SmsMessage
from tests.torture.impatient import ImpatientSend

with DAG("torture", schedule=None):
    ImpatientSend(
        task_id="send",
        audience=os.environ["TORTURE_AUDIENCE"],
        list_id=os.environ["TORTURE_LIST"],
        message=SmsMessage(os.environ["TORTURE_MESSAGE"]),
        campaign_key=os.environ["TORTURE_CAMPAIGN_KEY"],
        concurrency=int(os.environ["TORTURE_CONCURRENCY"]),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
