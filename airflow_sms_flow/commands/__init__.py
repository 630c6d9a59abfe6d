"""The larger command groups of `python -m airflow_sms_flow`."""
