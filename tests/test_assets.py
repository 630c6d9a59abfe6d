"""The addresses of what campaigns are triggered by."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_sms_flow.assets import bounced, replied, subscribed, unsubscribed
from airflow_sms_flow.core.errors import InvalidInput


def test_each_kind_has_an_address_that_people_can_read() -> None:
    """Company, list and what happened; a number does as an id."""
    assert subscribed("acme", "1201").uri == "vibes://acme/list/1201/subscribed"
    assert unsubscribed("acme", 1201).uri == "vibes://acme/list/1201/unsubscribed"
    assert bounced("acme", "1201").uri == "vibes://acme/list/1201/bounced"
    assert replied("acme", "52623").uri == "vibes://acme/code/52623/replied"


def test_each_has_a_bell_of_its_own() -> None:
    """Two DAGs on one asset share one bell: Airflow knows it by its arguments."""
    one, twin, other = (subscribed("acme", list_id).watchers[0].trigger for list_id in ("1", "1", "2"))
    assert one.serialize() == twin.serialize() != other.serialize()


@pytest.mark.parametrize(
    "uri",
    [
        "vibes://acme",
        "vibes:///list/1201/subscribed",
        "vibes://acme/list/1201",
        "vibes://acme/list/1201/joined",
        "vibes://acme/code/52623/subscribed",
        "vibes://acme/list/1201/subscribed/today",
    ],
)
def test_another_shape_is_no_asset_of_vibes(uri: str) -> None:
    """A typing error would never ring."""
    with pytest.raises(ValueError, match="an asset of Vibes is"):
        Asset(uri)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("acme inc", "1201"), "company_key"),
        (("acme", "1201/x"), "list_id"),
        (("acme", ""), "list_id"),
    ],
)
def test_what_cannot_stand_in_an_address_is_refused(arguments: tuple[Any, Any], told: str) -> None:
    """Field, value, remedy, while the DAG is parsed."""
    with pytest.raises(InvalidInput, match=told):
        subscribed(*arguments)


def test_a_bell_that_never_rests_is_refused() -> None:
    """Nor one that sleeps for hours."""
    with pytest.raises(InvalidInput, match="poll_seconds"):
        subscribed("acme", "1201", poll_seconds=0)
