"""What Vibes says by callback: the shapes of its own pages, older and stranger ones, and anything at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_sms_flow.core.callbacks import Outcome, dedupe_key, read_callback, read_time
from airflow_sms_flow.core.facts import Answered, Asked, EventStage, Fact, Joined, Left, Replied
from airflow_sms_flow.core.receipts import Bounce, Stage

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
EVENT_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE_AT = EVENT_AT.replace(second=0)
END_OF_MINUTE = EVENT_AT.replace(second=59, microsecond=999_999)
PHONE = "+12025550132"
EVENT_ID = "0123456789abcdef0123456789abcdef"


def _envelope(kind: str, **more: Any) -> dict[str, Any]:
    head = {
        "event_id": "CB1",
        "callback_type": kind,
        "event_type": kind,
        "event_date": "2026-01-02T03:04:05Z",
    }
    return head | more


def _person(**more: Any) -> dict[str, Any]:
    return {"id": "111", "external_id": "42", "mobile_phone": {"mdn": PHONE}} | more


def _subscription(kind: str, **more: Any) -> dict[str, Any]:
    of_list = {"id": "12", "url": "/companies/CK/mobiledb/subscription_lists/12"}
    return _envelope(kind, subscription={"person": _person(), "subscription_list": of_list} | more)


def _participant(status: str, kind: str = "ack_participant_added", **more: Any) -> dict[str, Any]:
    campaign = {"id": "C1", "url": "/companies/CK/campaigns/acquisition/ACQ1", "keyword": "JOIN"}
    dates = {"participation_date": "2026-01-02T03:04Z", "expire_date": "2026-01-03T03:04Z"}
    participant = {"person": _person(), "acquisition_campaign": campaign, "status": status} | dates
    return _envelope(kind, participant=participant | more)


def _event(action: Any, event_id: Any = EVENT_ID) -> dict[str, Any]:
    return _envelope("event_processed", event_processed={"event_id": event_id, "action": action})


def _read(body: object) -> tuple[tuple[Fact, ...], Outcome | None]:
    found = read_callback(json.dumps(body).encode(), NOW)
    return found.facts, found.outcome


def _fact(body: object) -> Fact:
    facts, outcome = _read(body)
    assert outcome is None
    assert len(facts) == 1
    return facts[0]


def test_somebody_joined_a_list() -> None:
    """At `opt_in_date`, not at the time of the telling; the Marketo id comes along."""
    body = _subscription("subscription_added", opt_in_date="2026-01-02T03:04:00Z")
    assert _fact(body) == Joined("12", PHONE, MINUTE_AT, None, "42")


def test_somebody_left_a_list() -> None:
    """The reason may lie in two places, in any case."""
    inside = _subscription("subscription_removed", opt_out_reason="USER_OPT_OUT", opt_in_date="2025-01-01")
    assert _fact(inside) == Left("12", PHONE, EVENT_AT, "user_opt_out", "42")
    outside = _subscription("subscription_removed", opt_out_date="2026-01-02T03:04Z")
    assert _fact(outside | {"opt_out_reason": "disconnect"}) == Left(
        "12", PHONE, EVENT_AT, "disconnect", "42"
    )


@pytest.mark.parametrize(
    ("opt_out_date", "event_date", "at"),
    [
        ("2026-01-02T03:04Z", "2026-01-02T03:04:41Z", EVENT_AT.replace(second=41)),
        ("2026-01-02T03:04:12Z", "2026-01-02T03:04:16Z", EVENT_AT.replace(second=16)),
        ("2026-01-02T03:04:16Z", "2026-01-02T03:04:12Z", EVENT_AT.replace(second=16)),
        ("2026-01-02T03:04Z", "2026-01-02T03:04Z", END_OF_MINUTE),
        ("2026-01-02T03:04Z", None, END_OF_MINUTE),
        (None, "2026-01-01 21:04 -0600", END_OF_MINUTE),
        ("2026-01-02T03:03Z", "2026-01-02T03:04:05Z", EVENT_AT),
        ("2026-01-01", "2026-01-02T03:04:05Z", EVENT_AT),
        ("2026-01-01", None, datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-01-02", None, NOW + timedelta(minutes=5)),
        ("9999-12-31T23:59Z", None, NOW + timedelta(minutes=5)),
        ("soon", None, NOW),
    ],
)
def test_the_latest_time_of_an_opt_out_counts(
    opt_out_date: str | None, event_date: str | None, at: datetime
) -> None:
    """To the end of what it may mean and no further: an opt-in of the same minute that is older must not beat
    it, one of the minute after it does."""
    body = _subscription("subscription_removed", opt_out_date=opt_out_date) | {"event_date": event_date}
    assert getattr(_fact(body), "at", None) == at


def test_a_no_without_seconds_is_one_of_the_end_of_its_minute() -> None:
    """A Yes of the same minute is one of its beginning: in doubt, nobody agreed."""
    vague = {"event_date": "2026-01-02T03:04Z"}
    assert getattr(_fact(_participant("REJECTED") | vague), "at", None) == END_OF_MINUTE
    assert getattr(_fact(_participant("CONFIRMED") | vague), "at", None) == MINUTE_AT


def test_a_question_and_its_answers_are_told_by_the_status() -> None:
    """The vendor's own sample of a changed participant calls itself "added". The campaign is the tail of its
    address: its `id` is another one."""
    expire_at = MINUTE_AT + timedelta(days=1)
    assert _fact(_participant("PENDING")) == Asked("ACQ1", PHONE, expire_at, MINUTE_AT, "42")
    yes = Answered("ACQ1", PHONE, True, EVENT_AT, expire_at, "42")
    for kind in ("ack_participant_added", "ack_participant_changed", "company_participant_changed", "?"):
        assert _fact(_participant("CONFIRMED", kind)) == yes
    no = _fact(_participant("rejected"))
    assert isinstance(no, Answered)
    assert not no.confirmed


def test_a_campaign_without_an_address_is_named_by_its_id() -> None:
    """As a number or as text."""
    fact = _fact(_participant("PENDING", acquisition_campaign={"id": 77}))
    assert isinstance(fact, Asked)
    assert fact.campaign_id == "77"


def test_a_question_without_its_end_stands_for_a_day() -> None:
    """The usual confirm window."""
    fact = _fact(_participant("PENDING", expire_date=None))
    assert isinstance(fact, Asked)
    assert fact.expire_at == MINUTE_AT + timedelta(hours=24)


def test_a_status_that_nobody_knows_is_kept() -> None:
    """It says neither yes nor no."""
    assert _read(_participant("WONDERING")) == ((), Outcome.UNKNOWN_TYPE)


def test_how_far_a_text_has_come() -> None:
    """The id is the inner one, which is ours; the outer one is the callback's."""
    action = {"type": "handset_dlr", "status": "failed", "status_reason": "invalid number"}
    assert _fact(_event(action)) == EventStage(
        EVENT_ID, Stage.BOUNCED, EVENT_AT, Bounce.HARD, "invalid_number"
    )


def test_somebody_elses_event_is_nothing_new() -> None:
    """Other systems of the company send events, too."""
    assert _read(_event({"type": "routing", "status": "processing"}, "order-7"))[1] is Outcome.NOTHING_NEW
    assert _read(_event({"type": "mystery", "status": "done"}))[1] is Outcome.UNKNOWN_TYPE
    assert _read(_event("none"))[1] is Outcome.UNREADABLE


def test_a_reply_that_vibes_had_no_use_for() -> None:
    """Its text is no part of the fact."""
    body = {
        "callback_type": "unmatched_message_received",
        "participant": {"mdn": PHONE, "carrier_id": 103},
        "source_code": {"code": "52623", "country_code": "1"},
        "message": "who is this?",
        "receipt_date": "2026-01-01T21:04:05-06:00",
    }
    assert _fact(body) == Replied("52623", PHONE, EVENT_AT)


@pytest.mark.parametrize("mdn", ["2025550132", "12025550132", "+12025550132", 12025550132])
def test_numbers_of_older_api_versions_are_read(mdn: object) -> None:
    """North American ones without a plus."""
    body = _subscription("subscription_added", person=_person(mobile_phone={"mdn": mdn}))
    assert getattr(_fact(body), "phone", None) == PHONE


@pytest.mark.parametrize(
    "mdn", [None, "", "+", "4915112345678", "+12025550132x", "+1202555\u0000132", [PHONE]]
)
def test_without_a_number_nothing_is_guessed(mdn: object) -> None:
    """Kept as unreadable; the extract tells of such a person."""
    body = _subscription("subscription_removed", person=_person(mobile_phone={"mdn": mdn}))
    assert _read(body) == ((), Outcome.UNREADABLE)


def test_an_event_of_the_future_does_not_win_for_ever() -> None:
    """A clock that is minutes ahead is believed, one that is years ahead is not."""
    near = _subscription("subscription_added", opt_in_date="2026-01-02T04:01:00Z")
    far = _subscription("subscription_added", opt_in_date="2036-01-02T04:01:00Z")
    assert getattr(_fact(near), "at", None) == NOW + timedelta(minutes=1)
    assert getattr(_fact(far), "at", None) == NOW + timedelta(minutes=5)


def test_an_opt_out_without_any_time_counts_from_its_arrival() -> None:
    """There is nothing better, and later is the safe side."""
    for body in (_subscription("subscription_removed"), _participant("REJECTED")):
        assert getattr(_fact(body | {"event_date": "soon"}), "at", None) == NOW


def test_an_opt_in_without_any_time_is_unreadable() -> None:
    """It may be days old: dated by its arrival it would overrule a newer STOP."""
    assert _read(_subscription("subscription_added") | {"event_date": "soon"}) == ((), Outcome.UNREADABLE)
    body = _participant("CONFIRMED") | {"event_date": "soon"}
    assert getattr(_fact(body), "at", None) == MINUTE_AT, "they said it after they were asked"
    del body["participant"]["participation_date"]
    assert _read(body) == ((), Outcome.UNREADABLE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-02T03:04:05Z", EVENT_AT),
        ("2026-01-02T03:04Z", MINUTE_AT),
        ("2026-01-01 21:04:05 -0600", EVENT_AT),
        ("2026-01-02T03:04:05+00:00", EVENT_AT),
        ("2026-01-02T03:04:05", EVENT_AT),
        ("0001-01-01T00:00:00+14:00", None),
        ("1999-12-31T23:59:59Z", None),
        ("yesterday", None),
        ("", None),
        (1767323045, None),
        (None, None),
    ],
)
def test_times_are_read_in_every_shape_of_the_vendor(text: object, found: datetime | None) -> None:
    """A time without a zone is UTC; what is no time of this century is none."""
    assert read_time(text) == found


def test_one_callback_has_one_key_however_often_it_comes() -> None:
    """Whatever else changed in it, such as `delivery_attempt`; another company's is another."""
    first = json.dumps(_participant("PENDING")).encode()
    again = json.dumps(_participant("PENDING") | {"delivery_attempt": "2"}, indent=1).encode()
    assert dedupe_key("acme", first) == dedupe_key("acme", again)
    assert dedupe_key("acme", first) != dedupe_key("globex", first)
    assert dedupe_key("acme", first).startswith("acme:CB1:")


def test_stages_that_share_an_outer_id_are_told_apart() -> None:
    """Should Vibes name the event and not the callback: none is lost."""
    stages = [("routing", "processing"), ("carrier_dlr", "success"), ("carrier_dlr", "failed")]
    bodies = [json.dumps(_event({"type": kind, "status": status})).encode() for kind, status in stages]
    assert len({dedupe_key("acme", body) for body in bodies}) == 3


@pytest.mark.parametrize("event_id", [None, "", "x" * 81, ["CB1"], True, "a\u0000b"])
def test_without_a_usable_id_the_body_is_the_key(event_id: object) -> None:
    """A hash of it: the same body is the same callback."""
    body = json.dumps(_participant("PENDING") | {"event_id": event_id}).encode()
    other = json.dumps(_participant("CONFIRMED") | {"event_id": event_id}).encode()
    assert len(dedupe_key("acme", body)) == 64
    assert dedupe_key("acme", body) == dedupe_key("acme", body) != dedupe_key("acme", other)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KINDS = st.sampled_from(
    ["subscription_added", "subscription_removed", "ack_participant_added", "event_processed", "?"]
)
_PARTS = ("subscription", "participant", "event_processed", "source_code", "event_id", "event_date")


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"event_id":' + b"9" * 5_000 + b"}")
@example(b'{"event_id":"\\ud800","event_type":"subscription_added"}')
@example(b"\xff\xfe{}")
def test_any_body_is_read_without_an_error(body: bytes) -> None:
    """What cannot be understood is called so."""
    found = read_callback(body, NOW)
    assert found.outcome in (Outcome.UNREADABLE, Outcome.UNKNOWN_TYPE)
    assert len(dedupe_key("acme", body)) <= 200


@given(_KINDS, st.dictionaries(st.sampled_from(_PARTS), _JSON), st.data())
def test_any_json_is_read_without_an_error(kind: str, parts: dict[str, Any], data: st.DataObject) -> None:
    """Also where a part is of a strange shape deep inside."""
    whole = _subscription(kind) | _participant("CONFIRMED", kind) | _event({}) | parts
    for name in ("subscription", "participant", "event_processed"):
        if isinstance(whole[name], dict) and whole[name]:
            whole[name] = dict(whole[name])
            whole[name][data.draw(st.sampled_from(sorted(whole[name])))] = data.draw(_JSON)
    body = json.dumps(whole).encode()
    found = read_callback(body, NOW)
    assert (found.outcome is None) is bool(found.facts)
    key = dedupe_key("acme", body)
    assert len(key) <= 200
    assert key.isprintable()
