"""A fresh, empty sandbox on a free port for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.sandbox.callback_receiver import Receiver
from tests.sandbox.sandbox_caller import Caller

MakeCaller = Callable[..., Caller]


@pytest.fixture
def make_caller() -> Iterator[MakeCaller]:
    """Call it with settings: a sandbox without leads, moods or landlines, unless given."""
    running: list[Sandbox] = []

    def make(**settings: object) -> Caller:
        plain: dict[str, object] = {"leads": 0, "moods": False, "share_landline": 0.0}
        sandbox = Sandbox(Settings().changed(plain | settings)).start()
        running.append(sandbox)
        return Caller(sandbox)

    yield make
    for sandbox in running:
        sandbox.stop()


@pytest.fixture
def caller(make_caller: MakeCaller) -> Caller:
    """A sandbox with the plainest settings."""
    return make_caller()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who hears callbacks, and answers 204 unless told otherwise."""
    receiver = Receiver()
    yield receiver
    receiver.stop()
