"""The ledger: who was claimed, sent, refused, confirmed. It stands between a person and a second text."""

from airflow_sms_flow.ledger.leases import Lease, TaskTry
from airflow_sms_flow.ledger.ledger import HistoryEntry, Ledger

__all__ = ["HistoryEntry", "Lease", "Ledger", "TaskTry"]
