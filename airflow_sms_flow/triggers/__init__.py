"""What the triggerer runs while a sensor's worker slot is free. They decide nothing that a sensor reports."""

from airflow_sms_flow.triggers.changes import VibesChangeTrigger
from airflow_sms_flow.triggers.delivery import SmsDeliveryTrigger
from airflow_sms_flow.triggers.opt_in import VibesOptInTrigger

__all__ = ["SmsDeliveryTrigger", "VibesChangeTrigger", "VibesOptInTrigger"]
