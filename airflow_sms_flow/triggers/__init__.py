"""What the triggerer runs while a sensor's worker slot is free. Triggers only read."""

from airflow_sms_flow.triggers.opt_in import VibesOptInTrigger

__all__ = ["VibesOptInTrigger"]
