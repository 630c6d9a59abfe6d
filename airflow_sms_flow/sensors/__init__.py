"""The sensors, as DAG authors import them."""

from airflow_sms_flow.sensors.delivery import SmsDeliverySensor
from airflow_sms_flow.sensors.opt_in import VibesOptInSensor

__all__ = ["SmsDeliverySensor", "VibesOptInSensor"]
