"""The people: what they answer, when it is too late, and what STOP does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.sandbox_caller import DB, NEWS, OTHER, PERSON, THIRD, Caller

SUBSCRIBERS = f"{DB}/subscription_lists/1201/subscribers"


def is_subscribed(caller: Caller, phone: str) -> bool:
    return caller.vibes("GET", SUBSCRIBERS, params={"mdn": phone}).status_code == 200


def is_pending(caller: Caller, phone: str) -> bool:
    return bool(caller.vibes("GET", f"{NEWS}/participants", params={"mdn": phone}).json())


def test_yes_no_and_silence(make_caller: Any) -> None:
    """Y subscribes and welcomes, N leaves a block, silence expires after the window and not before."""
    caller = make_caller(opt_in_window_seconds=30, answer_seconds=5)
    behaviours = {PERSON: "Y", OTHER: "N", THIRD: "silence"}
    caller.load(phones=[{"phone": phone, "behaviour": one} for phone, one in behaviours.items()])
    for phone in behaviours:
        assert caller.ask(phone).status_code == 201
    caller.advance(4)
    assert all(is_pending(caller, phone) for phone in behaviours)
    caller.advance(2)
    assert [is_subscribed(caller, phone) for phone in behaviours] == [True, False, False]
    assert [is_pending(caller, phone) for phone in behaviours] == [False, False, True]
    assert [len(caller.texts(phone)) for phone in behaviours] == [3, 2, 1]
    caller.advance(25)
    assert not is_pending(caller, THIRD)
    assert caller.ask(PERSON).status_code == 409
    assert "MDNHASCONFIRMATIONBLOCK" in caller.ask(OTHER).text
    assert caller.ask(THIRD).status_code == 201
    kinds = [
        one["kind"] for one in caller.panel("GET", "effects")["effects"] if one["kind"] != "text_delivered"
    ]
    assert kinds == ["opt_in_asked"] * 3 + ["subscribed", "declined", "opt_in_expired", "opt_in_asked"]


def test_a_jump_of_the_clock_keeps_the_order_of_things(caller: Caller) -> None:
    """An answer that was due before the window closed still counts, however far the clock jumps at once."""
    caller.load(phones=[{"phone": PERSON, "behaviour": "Y"}])
    caller.ask()
    caller.advance(86_400)
    assert is_subscribed(caller, PERSON)


def test_an_answer_after_the_window_comes_too_late(make_caller: Any) -> None:
    """Somebody who answers slower than the window is not subscribed."""
    caller = make_caller(opt_in_window_seconds=10, answer_seconds=11)
    caller.load(phones=[{"phone": PERSON, "behaviour": "Y"}])
    caller.ask()
    caller.advance(20)
    assert not is_subscribed(caller, PERSON)
    assert "did not understand" in caller.texts()[-1]


@pytest.mark.parametrize("word", ["STOP", "stop.", "Unsubscribe", "QUIT"])
def test_stop_leaves_every_list_and_declines_what_is_open(caller: Caller, word: str) -> None:
    """The person is off all lists, the open question is answered No, and a goodbye is sent."""
    caller.load(
        subscriptions=[{"phone": PERSON, "list_id": one} for one in ("1202", "1203")],
        phones=[{"phone": PERSON, "behaviour": "silence"}],
    )
    caller.ask()
    caller.panel("POST", "reply", json={"phone": PERSON, "text": word})
    assert {one["list_id"] for one in caller.effects("unsubscribed")} == {"1202", "1203"}
    assert "MDNHASCONFIRMATIONBLOCK" in caller.ask().text
    assert "left" in caller.texts()[-1]


def test_a_keyword_lifts_the_block(caller: Caller) -> None:
    """Whom the API cannot ask any more may still join by texting the keyword."""
    caller.load(
        blocks=[{"phone": PERSON, "campaign_id": "NEWS1201"}], phones=[{"phone": PERSON, "behaviour": "Y"}]
    )
    caller.panel("POST", "reply", json={"phone": PERSON, "text": "news"})
    assert is_pending(caller, PERSON)
    caller.advance(6)
    assert is_subscribed(caller, PERSON)


def test_behaviour_follows_from_the_seed(make_caller: Any) -> None:
    """The same seed gives the same people; the shares are those asked for."""
    numbers = [f"+1{area}555{line:04d}" for area in range(201, 221) for line in range(100, 150)]
    first, again, other = (make_caller(seed=seed, share_yes=0.5, share_no=0.3) for seed in (1, 1, 2))
    behaviours = [
        [one.sandbox.state.phones.get(n).behaviour for n in numbers] for one in (first, again, other)
    ]
    assert behaviours[0] == behaviours[1] != behaviours[2]
    shares = {word: behaviours[0].count(word) / len(numbers) for word in ("Y", "N", "silence")}
    assert shares == pytest.approx({"Y": 0.5, "N": 0.3, "silence": 0.2}, abs=0.05)
