"""The rules, pure: no Airflow, HTTP, SQL, environment, clock or sleep in this folder."""
