"""Marketo's errors in HTTP 200, its token, its lists and fields: facts D.1, D.3, D.5, D.6."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.clients._wire import Call, Reply
from airflow_sms_flow.clients.marketo import LeadField, MarketoClient, SmartListFilter, StaticListFilter
from airflow_sms_flow.clients.marketo import SmartListFilterUnavailable as FilterUnavailable
from airflow_sms_flow.clients.marketo_answers import CODES, classify, retry_at
from airflow_sms_flow.core.answers import AnswerClass
from airflow_sms_flow.core.errors import (
    BugError,
    ConfigError,
    InvalidInput,
    QuotaExhausted,
    Stopped,
    Unavailable,
)
from tests.clients.scripted_server import ScriptedServer, Sleeps, Step, answer, cut, raw, reset

Make = Callable[..., MarketoClient]
NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def token(value: str = "token-1", expires_in: object = 3599) -> Step:
    return answer(
        200, {"access_token": value, "token_type": "bearer", "expires_in": expires_in, "scope": "x"}
    )


def good(*result: object, **more: object) -> Step:
    return answer(200, {"requestId": "r", "success": True, "result": list(result), **more})


def bad(*errors: tuple[object, str]) -> Step:
    listed = [{"code": code, "message": message} for code, message in errors]
    return answer(200, {"requestId": "r", "success": False, "errors": listed})


NO_ASSETS = answer(
    200, {"success": True, "warnings": ["No assets found for the given search criteria."], "errors": []}
)
SMART_LIST = {"id": 1234, "name": "Offers", "createdAt": "2019-06-03T23:01:13Z+0000", "url": "x", "new": 1}


def paths(server: ScriptedServer) -> list[str]:
    return [request.path for request in server.requests]


def test_a_token_is_fetched_once_and_sent_as_bearer(server: ScriptedServer, marketo: MarketoClient) -> None:
    """One token serves all calls of its life; it never travels in a query."""
    server.play(token(), good(SMART_LIST), good(SMART_LIST))
    for _ in range(2):
        assert marketo.find_smart_list(1234).name == "Offers"
    fetched, *calls = server.requests
    assert fetched.path == "/identity/oauth/token"
    assert fetched.query["client_secret"] == "sw0rdfish-secret"
    assert "authorization" not in fetched.headers
    assert [call.headers["authorization"] for call in calls] == ["Bearer token-1"] * 2
    assert all("access_token" not in call.target for call in calls)


@pytest.mark.parametrize("code", ["601", 602])
def test_a_token_that_is_no_longer_taken_is_renewed_once(
    server: ScriptedServer, marketo: MarketoClient, code: object
) -> None:
    """601 and 602: a new token, and the call again."""
    server.play(token("old"), bad((code, "Access token expired")), token("new"), good(SMART_LIST))
    assert marketo.find_smart_list(1234).id == 1234
    assert server.requests[-1].headers["authorization"] == "Bearer new"


def test_a_new_token_that_is_not_taken_either_is_a_setting(
    server: ScriptedServer, marketo: MarketoClient
) -> None:
    """Twice 601 is not a matter of time."""
    server.play(token("old"), bad(("601", "x")), token("new"), bad(("601", "x")))
    with pytest.raises(ConfigError, match="API user"):
        marketo.find_smart_list(1234)
    assert len(server.requests) == 4


def test_a_token_is_renewed_a_minute_before_it_ends(server: ScriptedServer, marketo: MarketoClient) -> None:
    """A token with nothing left is not used a second time; one with an hour is."""
    server.play(token("ends", 0), good(SMART_LIST), token("lasts"), good(SMART_LIST), good(SMART_LIST))
    for _ in range(3):
        marketo.find_smart_list(1234)
    assert [path.endswith("token") for path in paths(server)] == [True, False, True, False, False]


def test_threads_share_one_token(make_marketo: Make) -> None:
    """Eight threads that start together ask for one token."""
    with ScriptedServer(token(), forever=good(SMART_LIST)) as server:
        client = make_marketo(server.url)
        threads = [threading.Thread(target=client.find_smart_list, args=(1234,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(path.endswith("token") for path in paths(server)) == 1


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (answer(401, {"error": "unauthorized", "error_description": "No client with id"}), ConfigError),
        (answer(404, b"<html>"), ConfigError),
        (answer(200, {"token": "x"}), Unavailable),
        (answer(200, {"access_token": "a\r\nX-Evil: 1"}), Unavailable),
        (answer(200, b"<html>"), Unavailable),
        (answer(500), Unavailable),
        (reset, Unavailable),
    ],
)
def test_a_token_that_is_refused_says_so(make_marketo: Make, step: Step, error: type[Exception]) -> None:
    """Wrong credentials are a setting; a broken answer passes, within patience."""
    with ScriptedServer(forever=step) as server, pytest.raises(error, match="oauth/token"):
        make_marketo(server.url).find_smart_list(1234)


@pytest.mark.parametrize(
    ("code", "message", "kind", "reason"),
    [
        *[(code, "", kind, reason) for code, (kind, reason, _) in CODES.items()],
        (606, "Max rate limit", AnswerClass.RETRY, "rate_limited"),
        ("1029", "Too many jobs (10) in queue", AnswerClass.RETRY, "queue_full"),
        ("1029", "Export daily quota 500MB exceeded.", AnswerClass.WAIT, "export_quota"),
        (1029, "Job already queued", AnswerClass.ALREADY, "queued"),
        ("1029", "something new", AnswerClass.RETRY, "queue_full"),
        ("9999", "new", AnswerClass.BUG, "unknown_code"),
        (None, "no code", AnswerClass.BUG, "unknown_code"),
        ("+12025550132", "a code that is none", AnswerClass.BUG, "unknown_code"),
    ],
)
def test_each_code_has_its_class(code: object, message: str, kind: AnswerClass, reason: str) -> None:
    """Facts D.3, code by code, as text or number, in HTTP 200 or not."""
    for status in (200, 404, 500):
        body = b'{"success": false, "errors": [{"code": %s, "message": "%s"}]}'
        text = body % (_json(code), message.encode())
        got = classify(Call("GET", "/x.json"), Reply(status, {}, text), NOW)
        assert (got.kind, got.reason) == (kind, reason)
        assert "5550132" not in got.detail


def _json(value: object) -> bytes:
    return b"null" if value is None else b'"%s"' % value.encode() if isinstance(value, str) else b"%d" % value


def test_of_several_errors_the_gravest_decides() -> None:
    """A passing fault beside a wrong setting is a wrong setting."""
    text = b'{"success": false, "errors": [{"code": "606"}, {"code": "1035"}, "odd", {"code": "1003"}]}'
    assert classify(Call("GET", "/x.json"), Reply(200, {}, text), NOW).reason == "filter_unavailable"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(200, {}, b""), AnswerClass.RETRY),
        (Reply(200, {}, b"<html>"), AnswerClass.RETRY),
        (Reply(200, {}, b"[]"), AnswerClass.RETRY),
        (Reply(200, {}, b'{"success": "true"}'), AnswerClass.RETRY),
        (Reply(200, {}, b'{"success": false}'), AnswerClass.RETRY),
        (Reply(200, {}, b'{"success": false, "errors": "x"}'), AnswerClass.RETRY),
        (Reply(200, {}, b'{"success": true', complete=False), AnswerClass.RETRY),
        (Reply(502, {}, b"<html>"), AnswerClass.RETRY),
        (Reply(429, {}, b""), AnswerClass.RETRY),
        (Reply(403, {}, b""), AnswerClass.CONFIG),
        (Reply(404, {}, b"plain text"), AnswerClass.CONFIG),
        (Reply(302, {}, b""), AnswerClass.CONFIG),
        (Reply(413, {}, b""), AnswerClass.BUG),
        (Reply(414, {}, b""), AnswerClass.BUG),
    ],
)
def test_an_answer_without_the_envelope_goes_by_its_status(reply: Reply, kind: AnswerClass) -> None:
    """Empty, malformed, cut or somebody else's page: nothing is read into it."""
    assert classify(Call("GET", "/x.json"), reply, NOW).kind is kind


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 1, 2, 12, 0, tzinfo=UTC), datetime(2026, 1, 3, 6, 0, tzinfo=UTC)),
        (datetime(2026, 7, 2, 4, 30, tzinfo=UTC), datetime(2026, 7, 2, 5, 0, tzinfo=UTC)),
        (datetime(2026, 3, 8, 12, 0, tzinfo=UTC), datetime(2026, 3, 9, 5, 0, tzinfo=UTC)),
    ],
)
def test_a_quota_ends_at_midnight_in_chicago_with_slack(now: datetime, expected: datetime) -> None:
    """Winter and summer time; the slack also covers a midnight that is meant as CST."""
    assert timedelta(hours=1) < retry_at(now) - expected < timedelta(hours=2)


def test_a_used_up_quota_says_until_when(server: ScriptedServer, make_marketo: Make) -> None:
    """607 is not worth a repeat today."""
    server.play(token(), bad(("607", "Daily API Request Limit Reached")))
    with pytest.raises(QuotaExhausted, match="2026-01-03") as caught:
        make_marketo(server.url, now=lambda: NOW).describe_leads()
    assert caught.value.retry_at == retry_at(NOW)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("code", "at_least"), [("606", 20.0), ("1022", 60.0), ("615", 0.0)])
def test_a_repeat_waits_as_long_as_the_code_wants(
    server: ScriptedServer, marketo: MarketoClient, sleeps: Sleeps, code: str, at_least: float
) -> None:
    """606 counts over 20 seconds, so 20 seconds pass; 615 is over in a moment."""
    server.play(token(), bad((code, "x")), good(SMART_LIST))
    marketo.find_smart_list(1234)
    assert at_least <= sleeps.total < at_least + 1.1


def test_a_wait_ends_when_the_task_is_stopped(make_marketo: Make) -> None:
    """Within a second, however long the wait was to be."""
    with ScriptedServer(token(), forever=bad(("606", "x"))) as server:
        client = make_marketo(server.url, stop=lambda: len(server.requests) > 1)
        with pytest.raises(Stopped):
            client.describe_leads()


@pytest.mark.parametrize("step", [answer(500), reset, cut(200, b'{"success": true}', 5), raw(b"garbage\r\n")])
def test_passing_faults_are_repeated(server: ScriptedServer, marketo: MarketoClient, step: Step) -> None:
    """Everything we ask of Marketo may be asked again."""
    server.play(token(), step, good(SMART_LIST))
    assert marketo.find_smart_list(1234).id == 1234


def test_a_smart_list_is_found_by_id_and_by_name(server: ScriptedServer, marketo: MarketoClient) -> None:
    """Digits are tried as an id and then as a name, for a list may be called 2026."""
    server.play(token(), good(SMART_LIST), good(SMART_LIST), NO_ASSETS, good({**SMART_LIST, "name": "2026"}))
    assert marketo.find_smart_list(1234).id == 1234
    assert marketo.find_smart_list("Offers & more + än").id == 1234
    assert marketo.find_smart_list("2026").name == "2026"
    by_id, by_name, as_id, as_name = server.requests[1:]
    assert by_id.path == "/rest/asset/v1/smartList/1234.json"
    assert by_name.query == {"name": "Offers & more + än"}
    assert (as_id.path, as_name.query) == ("/rest/asset/v1/smartList/2026.json", {"name": "2026"})


def test_a_static_list_is_found_by_id_and_by_name(server: ScriptedServer, marketo: MarketoClient) -> None:
    """From the lead database, whose permission the export needs anyway."""
    server.play(token(), good({"id": 1001, "name": "Fallback"}), good({"id": "1001", "name": "Fallback"}))
    assert marketo.find_static_list("1001") == marketo.find_static_list("Fallback")
    assert paths(server)[1:] == ["/rest/v1/lists/1001.json", "/rest/v1/lists.json"]


@pytest.mark.parametrize("step", [NO_ASSETS, good(), bad(("702", "No data")), bad(("1013", "not found"))])
def test_an_unknown_list_is_named_with_a_remedy(
    server: ScriptedServer, marketo: MarketoClient, step: Step
) -> None:
    """No hit comes in four shapes; `result` may be missing altogether."""
    server.play(token(), step)
    with pytest.raises(ConfigError, match=r"smart_list='Offers'.*exact name"):
        marketo.find_smart_list("Offers")


def test_a_name_of_several_lists_wants_an_id(server: ScriptedServer, marketo: MarketoClient) -> None:
    """Program-local lists may share a name: the ids to choose from are given."""
    server.play(token(), good(SMART_LIST, {**SMART_LIST, "id": 99}))
    with pytest.raises(ConfigError, match="1234, 99"):
        marketo.find_smart_list("Offers")


def test_an_empty_list_name_is_refused(marketo: MarketoClient) -> None:
    """Said before anything is asked."""
    with pytest.raises(InvalidInput, match="smart_list"):
        marketo.find_smart_list(" ")


FIELDS = [
    {
        "id": 2,
        "displayName": "First Name",
        "dataType": "string",
        "length": 255,
        "rest": {"name": "firstName"},
    },
    {"id": 3, "displayName": "Mobile Phone", "dataType": "phone", "rest": {"name": "mobilePhone"}},
    {"id": 4, "displayName": "Old", "dataType": "string", "soap": {"name": "Old"}},
    {"id": 5, "rest": {"name": "bare"}},
]


def test_fields_are_described_by_rest_name(server: ScriptedServer, marketo: MarketoClient) -> None:
    """Tokens use display names; fields that REST does not offer are left out."""
    server.play(token(), good(*FIELDS))
    fields = marketo.describe_leads()
    assert fields["firstName"] == LeadField("firstName", "First Name", "string")
    assert fields["bare"] == LeadField("bare", "bare", "")
    assert set(fields) == {"firstName", "mobilePhone", "bare"}


def test_an_unknown_field_is_named_with_what_is_near(server: ScriptedServer, marketo: MarketoClient) -> None:
    """One wrong name would fail the whole export (1006)."""
    server.play(token(), good(*FIELDS), good(*FIELDS))
    assert list(marketo.check_fields(["mobilePhone"])) == ["mobilePhone"]
    with pytest.raises(InvalidInput, match=r"mobile_phone.*mobilePhone"):
        marketo.check_fields(["firstName", "mobile_phone"])


def test_the_test_button_answers_in_a_sentence(server: ScriptedServer, marketo: MarketoClient) -> None:
    """Token and API, one try each."""
    server.play(token(), good(*FIELDS), bad(("603", "Access denied")))
    assert marketo.check() == "Marketo answers; the lead database has 3 fields"
    with pytest.raises(ConfigError, match="role"):
        marketo.check()


def test_a_smart_list_filter_that_the_subscription_lacks_has_its_own_error(
    server: ScriptedServer, marketo: MarketoClient
) -> None:
    """1035: a static list does instead. For a static list it is a plain setting."""
    server.play(token(), bad(("1035", "Unsupported filter")), bad(("1035", "Unsupported filter")))
    with pytest.raises(FilterUnavailable, match="static_list"):
        marketo.create_export(["id"], SmartListFilter(1))
    with pytest.raises(ConfigError) as caught:
        marketo.create_export(["id"], StaticListFilter(1))
    assert not isinstance(caught.value, FilterUnavailable)


def test_our_own_mistake_is_a_bug(server: ScriptedServer, marketo: MarketoClient) -> None:
    """Nothing is repeated that cannot get better."""
    server.play(token(), bad(("609", "Invalid JSON")))
    with pytest.raises(BugError, match="609"):
        marketo.create_export(["id"], StaticListFilter(1))


@pytest.mark.parametrize("ending", ["", "/", "/rest", "/rest/", "/identity"])
def test_the_endpoint_as_marketo_shows_it_is_a_good_host(make_marketo: Make, ending: str) -> None:
    """Its admin page shows …/rest; bulk addresses have none, and no slash is doubled (facts D.1)."""
    with ScriptedServer(token(), good(SMART_LIST)) as server:
        make_marketo(server.url + ending).find_smart_list(1234)
        assert paths(server) == ["/identity/oauth/token", "/rest/asset/v1/smartList/1234.json"]


def test_missing_credentials_are_refused(make_marketo: Make) -> None:
    """Named before anything is asked."""
    with pytest.raises(InvalidInput, match="client_id"):
        make_marketo("http://127.0.0.1:1", client_secret="")
