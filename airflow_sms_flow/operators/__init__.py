"""The operators, as DAG authors import them."""

from airflow_sms_flow.operators.campaign_report import CampaignReportOperator
from airflow_sms_flow.operators.extract import ExtractSmartListOperator
from airflow_sms_flow.operators.extract_file import ExtractFileOperator
from airflow_sms_flow.operators.extract_query import ExtractQueryOperator
from airflow_sms_flow.operators.merge import MergeAudiencesOperator
from airflow_sms_flow.operators.new_people import (
    NewBouncesOperator,
    NewRepliesOperator,
    NewSubscribersOperator,
    NewUnsubscribersOperator,
)
from airflow_sms_flow.operators.prepare import PrepareAudienceOperator
from airflow_sms_flow.operators.register_callbacks import RegisterVibesCallbacksOperator
from airflow_sms_flow.operators.send import SendSmsMessageOperator
from airflow_sms_flow.operators.subscribe import SubscribeToVibesListOperator
from airflow_sms_flow.operators.sync import SyncSubscribersOperator
from airflow_sms_flow.operators.sync_deliveries import SyncDeliveriesOperator
from airflow_sms_flow.operators.unsubscribe import UnsubscribeFromVibesListOperator

__all__ = [
    "CampaignReportOperator",
    "ExtractFileOperator",
    "ExtractQueryOperator",
    "ExtractSmartListOperator",
    "MergeAudiencesOperator",
    "NewBouncesOperator",
    "NewRepliesOperator",
    "NewSubscribersOperator",
    "NewUnsubscribersOperator",
    "PrepareAudienceOperator",
    "RegisterVibesCallbacksOperator",
    "SendSmsMessageOperator",
    "SubscribeToVibesListOperator",
    "SyncDeliveriesOperator",
    "SyncSubscribersOperator",
    "UnsubscribeFromVibesListOperator",
]
