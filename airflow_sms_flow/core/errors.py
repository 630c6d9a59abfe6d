"""The one family of errors, split by what the reader should do.

    SmsFlowError
    ├── InvalidInput        fix the DAG, the form or the file: names field, value and remedy (never retried)
    ├── ConfigError         fix the account, connection, permission or setting (never retried)
    ├── BugError            our own request is wrong: report it (never retried)
    ├── Unavailable         a vendor did not answer well enough, again and again (Airflow retries)
    │   └── QuotaExhausted  nothing before `retry_at`: a daily quota is used up (Airflow retries)
    ├── OutcomeUnknown      a call that may have happened lost its answer: look before repeating
    ├── Unfinished          a dispatch left people out: the next try goes on from the ledger (Airflow retries)
    ├── Stopped             somebody stopped the task: in-flight requests were settled first
    └── LedgerError         the ledger cannot be written or read: nothing more may be sent (Airflow retries)

No text of this family carries a phone number, a name, an e-mail, a secret, or a URL with a query: `detail`
is a path template such as `GET /companies/{company_key}/mobiledb/persons` and a status.
"""

from __future__ import annotations

from datetime import datetime


class SmsFlowError(Exception):
    """Anything this package raises on purpose."""


class InvalidInput(SmsFlowError, ValueError):
    """A value somebody typed cannot work. Says which, what it was, and what to type instead."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field, self.value, self.remedy = field, value, remedy
        super().__init__(f"{field}={value!r}: {remedy}")

    def __reduce__(self) -> tuple[type, tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.remedy)


class ConfigError(SmsFlowError):
    """An account, connection, permission or setting is wrong. The text says what to change."""


class BugError(SmsFlowError):
    """A vendor says that our request itself is wrong. Repeating it cannot help."""


class Unavailable(SmsFlowError):
    """A vendor could not be reached, or answered with passing faults, past the budget of repeats."""


class QuotaExhausted(Unavailable):
    """A daily quota is used up. `retry_at` (aware UTC) is when the vendor counts from zero again."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        self.retry_at = retry_at
        super().__init__(message)


class OutcomeUnknown(SmsFlowError):
    """The request left and no readable answer came back: it may have happened."""


class Unfinished(SmsFlowError):
    """A dispatch could not reach everybody. Nobody is lost: the next try goes on from the ledger."""


class Stopped(SmsFlowError):
    """The task was told to stop; requests in flight were finished and settled first."""


class LedgerError(SmsFlowError):
    """The ledger is locked, full, gone, newer than this code, or empty where rows must be."""
