"""The ledger: who was claimed, sent, refused, confirmed. It stands between a person and a second text."""

from airflow_sms_flow.ledger.arrivals import Arrival
from airflow_sms_flow.ledger.changes import Change, Taken
from airflow_sms_flow.ledger.hearing import Heard
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.ledger.leases import Lease, TaskTry
from airflow_sms_flow.ledger.ledger import HistoryEntry, Ledger
from airflow_sms_flow.ledger.members import Member, Sync
from airflow_sms_flow.ledger.person import PersonEntry

__all__ = [
    "Arrival",
    "Change",
    "Heard",
    "HistoryEntry",
    "Lease",
    "Ledger",
    "Member",
    "PersonEntry",
    "RawCallback",
    "Sync",
    "Taken",
    "TaskTry",
]
