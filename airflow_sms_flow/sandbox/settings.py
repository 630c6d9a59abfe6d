"""What may be set about the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Everything adjustable, with units in the names. Times run on the sandbox's clock, rates on real time.

    Raises ValueError with field, value and what to give instead.
    """

    #: How many leads the generator makes, and from which seed; 0 gives an empty Marketo and an empty Vibes.
    leads: int = 3000
    seed: int = 1

    #: How long a pending opt-in waits for its answer (Vibes: 24 hours), and how soon people answer.
    opt_in_window_seconds: float = 30.0
    answer_seconds: float = 5.0
    #: Shares of phones that answer Y and N; the rest stays silent. Landlines, and
    #: numbers outside the US and Canada, cannot be texted at all.
    share_yes: float = 0.6
    share_no: float = 0.15
    share_landline: float = 0.02

    #: How long after its 202 an event becomes a text, and a new event-triggered campaign runs.
    event_delay_seconds: float = 0.1
    campaign_start_seconds: float = 1.0
    #: What a second event with the same event_id does: "deliver" (so that mistakes show) or "drop".
    reused_event_id: str = "deliver"

    #: What becomes of a text after that: shares of sends that bounce for a while or for good, that Vibes
    #: fails at, and that the phone confirms; and how soon each receipt comes.
    share_bounced_soft: float = 0.0
    share_bounced_hard: float = 0.0
    share_unexpected_errors: float = 0.0
    share_handset_receipts: float = 1.0
    receipt_seconds: float = 1.0
    #: Shares of people who, after a welcome or a campaign's text, text STOP, or what nobody understands.
    share_stop: float = 0.0
    share_unmatched: float = 0.0
    afterthought_seconds: float = 5.0

    #: Callbacks: how late they come, and up to how much later than others (which shuffles them).
    callback_delay_seconds: float = 0.1
    callback_reorder_seconds: float = 0.0
    share_callbacks_duplicated: float = 0.0
    share_callbacks_lost: float = 0.0
    #: Patience with a receiver, in real seconds; when and how often all in all a callback is tried; after how
    #: many failures in a row an address counts as downed, and for how long. Vibes publishes none of these.
    callback_timeout_seconds: float = 2.0
    callback_retry_seconds: float = 5.0
    callback_attempts: int = 10
    callback_downed_after: int = 10
    callback_downed_seconds: float = 10.0
    #: How many connections deliver at once; read when the first callback is registered.
    callback_connections: int = 4
    #: True: unmatched_message_received is no valid JSON, as in the vendor's own sample.
    callback_broken_json: bool = False
    #: The share of messages whose client_message_id in the Message Extract is our event_id; else it is empty.
    share_client_message_ids: float = 1.0

    #: Vibes' limits, per company key and sliding second.
    vibes_events_per_second: int = 300
    vibes_others_per_second: int = 100

    #: Marketo's limits, for the whole instance.
    marketo_calls_per_window: int = 100
    marketo_window_seconds: float = 20.0
    marketo_concurrent_calls: int = 10
    marketo_calls_per_day: int = 50_000
    token_seconds: float = 3600.0

    #: Marketo's bulk export: time in the queue and in work, and its limits.
    export_queued_seconds: float = 1.0
    export_processing_seconds: float = 1.0
    export_running_limit: int = 2
    export_queue_limit: int = 10
    export_bytes_per_day: int = 500_000_000
    #: False: smartListId, smartListName and updatedAt answer 1035, as in many subscriptions.
    smart_list_filter_available: bool = True

    #: Vibes' habits that its specification does not show: unknown fields, ids as numbers, dates without
    #: seconds, arrays in place of objects.
    moods: bool = True
    #: Added to every answer of the vendors, as a network would.
    latency_seconds: float = 0.0
    #: How many requests the log remembers; texts and effects are always kept.
    log_size: int = 200_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
                raise ValueError(f"{field.name}={value!r}: give a number that is not negative")
            if field.name.startswith("share_") and value > 1:
                raise ValueError(f"{field.name}={value!r}: give a share between 0 and 1")
        for name, other in (
            ("share_no", "share_yes"),
            ("share_bounced_hard", "share_bounced_soft"),
            ("share_unmatched", "share_stop"),
        ):
            if getattr(self, name) + getattr(self, other) > 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: {other} and {name} together exceed 1")
        for name in ("callback_attempts", "callback_downed_after", "callback_connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: give at least 1")
        if self.reused_event_id not in ("deliver", "drop"):
            raise ValueError(f"reused_event_id={self.reused_event_id!r}: give 'deliver' or 'drop'")

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some replaced, as the control panel sends them."""
        types = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        typed: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in types:
                raise ValueError(f"settings.{name}: no such setting; there are {', '.join(sorted(types))}")
            fits = (int, float) if types[name] is float else types[name]
            if not isinstance(value, fits) or (isinstance(value, bool) and types[name] is not bool):
                raise ValueError(f"settings.{name}={value!r}: give a value of type {types[name].__name__}")
            typed[name] = float(value) if types[name] is float else value
        return replace(self, **typed)
