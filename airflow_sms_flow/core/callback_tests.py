"""Test events of our own: Vibes sends a made-up callback about a real list, which must never be applied.

What a test call passes overrides fields of the vendor's dummy payload (facts B.2). So marks are put there
before the call, and whoever reads such a callback knows it, however early it comes and without any state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: A number nobody has: from the range that is set aside for fiction.
TEST_PHONE = "+12025550100"
#: A person's id as Vibes writes them, far beyond those that it has given out.
TEST_PERSON_ID = "9002025550100"
#: Where free text is taken; no event of ours has such an id.
TEST_MARK = "airflow-sms-flow-test"


def is_test_callback(payload: Mapping[str, Any]) -> bool:
    """Whether this parsed callback comes of a test event of ours: it is kept, and nothing of it is applied.

    Looks only at fields that no person fills in, so that nobody can hide an answer behind a mark.
    """
    marks = (TEST_PERSON_ID, TEST_MARK)
    return any(isinstance(v, str | int) and str(v) in marks for v in _marked_fields(payload))


def _marked_fields(payload: Mapping[str, Any]) -> Iterator[object]:
    participant = _object(payload, "participant")
    yield participant.get("id")
    yield _object(participant, "person").get("id")
    yield _object(participant, "acquisition_campaign").get("description")
    yield _object(_object(payload, "subscription"), "person").get("id")
    yield _object(payload, "event_processed").get("event_id")


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
