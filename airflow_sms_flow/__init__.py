"""SMS campaigns as Airflow DAGs: Marketo says who, Vibes carries the text.

Importing this package imports nothing else, so that a DAG file stays cheap to parse; `SmsMessage` is
loaded at its first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_sms_flow.core.message import SmsMessage

__all__ = ["SmsMessage", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "SmsMessage":
        from airflow_sms_flow.core.message import SmsMessage

        return SmsMessage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
