"""Airflow connection -> client. Nothing else."""
