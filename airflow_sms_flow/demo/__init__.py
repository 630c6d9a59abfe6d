"""A whole campaign on one machine: Airflow and the sandbox, started, watched and stopped.

`python -m airflow_sms_flow.demo` runs the example DAGs and prints an account; with `ui` it leaves Airflow's
own UI running. Nothing of the package imports this folder.
"""
