"""The bell of an asset: rings when the ledger holds changes that nobody has taken yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.core.facts import ChangeKind

log = logging.getLogger(__name__)


class VibesChangeTrigger(BaseEventTrigger):
    """Watches one kind of change of one list (or source code). Made by `airflow_sms_flow.assets`.

    It rings once for however many changes came since the last look. After a restart it rings if something
    lies there that nobody took. What keeps it from looking is logged, and it looks again: a bell that died
    would be missed by nobody.

    The event is logged by Airflow as it is; it holds the number of the newest change and no person.

    :param kind: `core.facts.ChangeKind`.
    :param scope_id: the list's id, or the source code of a reply.
    :param poll_seconds: between two looks.
    """

    def __init__(self, *, company_key: str, kind: str, scope_id: str, poll_seconds: float = 5.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.company_key = company_key
        self.kind = kind
        self.scope_id = scope_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """For Airflow's database; the same arguments share one trigger."""
        names = ("company_key", "kind", "scope_id", "poll_seconds")
        return "airflow_sms_flow.triggers.changes.VibesChangeTrigger", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Called by the triggerer; rings again and again."""
        rung_for: int | None = None
        while True:
            newest, rings = await self._listen(rung_for)
            if rings:
                event = {"kind": self.kind, "scope_id": self.scope_id, "newest": newest}
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's own has no types
            rung_for = newest
            await asyncio.sleep(self.poll_seconds)

    async def _listen(self, rung_for: int | None) -> tuple[int | None, bool]:
        """The newest change, and whether to ring for it; where that cannot be told now, what was known."""
        try:
            from airflow_sms_flow.triggers._shared import this_process

            return await this_process().in_thread(self._look, rung_for)
        except Exception as error:  # whatever it is; a stranger's text may hold anything
            told = error if isinstance(error, SmsFlowError) else type(error).__name__
            log.warning("The bell of %s %s could not look: %s", self.kind, self.scope_id, told)
            return rung_for, False

    def _look(self, rung_for: int | None) -> tuple[int, bool]:
        from airflow_sms_flow.triggers._shared import this_process

        of = (self.company_key, ChangeKind(self.kind), self.scope_id)
        shared = this_process()
        with shared.ledger() as ledger:
            shared.hear(ledger)
            newest = ledger.latest_change(*of)
            return newest, ledger.has_untaken(*of) if rung_for is None else newest > rung_for
