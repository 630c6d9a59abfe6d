"""The operators, as DAG authors import them."""

from airflow_sms_flow.operators.extract import ExtractSmartListOperator
from airflow_sms_flow.operators.prepare import PrepareAudienceOperator
from airflow_sms_flow.operators.send import SendSmsMessageOperator
from airflow_sms_flow.operators.subscribe import SubscribeToVibesListOperator
from airflow_sms_flow.operators.unsubscribe import UnsubscribeFromVibesListOperator

__all__ = [
    "ExtractSmartListOperator",
    "PrepareAudienceOperator",
    "SendSmsMessageOperator",
    "SubscribeToVibesListOperator",
    "UnsubscribeFromVibesListOperator",
]
