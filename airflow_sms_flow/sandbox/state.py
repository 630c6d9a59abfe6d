"""Everything the sandbox knows, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from airflow_sms_flow.sandbox.accounts import COMPANY_KEY, LISTS, OTHER_COMPANY_KEY
from airflow_sms_flow.sandbox.clock import Clock
from airflow_sms_flow.sandbox.faults import Faults
from airflow_sms_flow.sandbox.marketo.models import Instance
from airflow_sms_flow.sandbox.marketo.routes import MarketoApi
from airflow_sms_flow.sandbox.people import Phones
from airflow_sms_flow.sandbox.record import Record
from airflow_sms_flow.sandbox.seeding import seed_world
from airflow_sms_flow.sandbox.settings import Settings
from airflow_sms_flow.sandbox.vibes.callback_delivery import Deliveries
from airflow_sms_flow.sandbox.vibes.callbacks import Callbacks
from airflow_sms_flow.sandbox.vibes.models import Company
from airflow_sms_flow.sandbox.vibes.routes import VibesApi

MARKETO_RING = "marketo"


class State:
    """One world. `lock` is held for every request and by whoever looks inside."""

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.RLock()
        self._begin(settings)

    def reset(self, settings: Settings) -> None:
        """Begin anew: new people, empty phones, no faults, no callbacks, an empty log, real time."""
        with self.lock:
            self.deliveries.stop()
            self._begin(settings)

    def _begin(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.record = Record(settings.log_size)
        self.faults = Faults(settings.seed)
        self.phones = Phones(settings, self.clock)
        self.company = Company(COMPANY_KEY, LISTS, self.phones, self.clock)
        other = Company(OTHER_COMPANY_KEY, (), self.phones, self.clock)
        self.instance = Instance(settings, self.clock)
        self.deliveries = Deliveries(lambda: self.settings, self.clock, self._go_on)
        companies = {COMPANY_KEY: self.company, OTHER_COMPANY_KEY: other}
        self.callbacks = {key: Callbacks(one, self.deliveries) for key, one in companies.items()}
        self.vibes = VibesApi(companies, self.callbacks)
        record = self.record
        self.marketo = MarketoApi(self.instance, self.faults, lambda: record.forgive(MARKETO_RING))
        seed_world(self.instance, self.company)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Other settings from now on, without a new beginning. Raises ValueError."""
        with self.lock:
            settings = self.settings.changed(changes)
            self.settings = self.phones.settings = self.instance.settings = settings

    def advance(self) -> None:
        """Let everything happen that is due by now. The lock must be held."""
        self.clock.run_due()

    def _go_on(self) -> None:
        """The same, from a thread of the sandbox's own."""
        with self.lock:
            self.advance()
