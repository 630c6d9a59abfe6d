"""The real client against the sandbox on a real port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.sandbox import Sandbox, Settings, accounts
from tests.sandbox.sandbox_caller import Caller

LIST, NEWS = accounts.STORE_NEWS.list_id, accounts.STORE_NEWS.acquisition_id
MakeClient = Callable[[], VibesClient]


@pytest.fixture
def vibes() -> Iterator[Caller]:
    """An account without people or campaigns; the control panel is at hand."""
    settings = Settings(leads=0, share_landline=0.0, share_yes=0.0, share_no=0.0, campaign_start_seconds=0.2)
    sandbox = Sandbox(settings).start()
    yield Caller(sandbox)
    sandbox.stop()


def make_client(vibes: Caller, stop: Callable[[], bool] | None = None) -> VibesClient:
    """A client as the hook makes it, with a read timeout that suits a test."""
    return VibesClient(
        host=vibes.sandbox.url,
        company_key=accounts.COMPANY_KEY,
        username=accounts.VIBES_LOGIN,
        password=accounts.VIBES_PASSWORD,
        timeout=(2.0, 2.0),
        stop=stop,
    )


@pytest.fixture
def client(vibes: Caller) -> Iterator[VibesClient]:
    """One client for the whole test."""
    with closing(make_client(vibes)) as made:
        yield made
