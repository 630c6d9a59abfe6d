"""What an answer of Marketo means: facts D.3 as one table.

Marketo says most of its errors in HTTP 200, so the body decides before the status does. Codes are text.
No word of a message is passed on, only the code; our own sentence beside it says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from airflow_sms_flow.clients._wire import Call, NoReply, Outcome, Reply, as_text
from airflow_sms_flow.core.answers import Answer, AnswerClass

OK, ALREADY, REFUSED, RETRY = AnswerClass.OK, AnswerClass.ALREADY, AnswerClass.REFUSED, AnswerClass.RETRY
WAIT, BUG, CONFIG = AnswerClass.WAIT, AnswerClass.BUG, AnswerClass.CONFIG

_CENTRAL = ZoneInfo("America/Chicago")
#: An hour, for some pages say "CST" in summer too, and ten minutes for clocks (facts D.2).
_QUOTA_SLACK = timedelta(minutes=70)

#: Shortest waits in seconds before a repeat, by reason.
FLOOR_SECONDS: Mapping[str, float] = MappingProxyType(
    {"rate_limited": 20.0, "queue_full": 60.0, "in_use": 60.0}
)

_IN_SUBSCRIPTION = "this Marketo subscription does not offer it"
_PERMISSION = "give the API user's role the permission, or allow this address"
_PARTITION = "give the API user access to the lead partition or workspace"

#: code -> (class, reason, what to do)
CODES: Mapping[str, tuple[AnswerClass, str, str]] = MappingProxyType(
    {
        "500": (RETRY, "server_error", ""),
        "502": (RETRY, "server_error", ""),
        "601": (RETRY, "token", "the access token is invalid"),
        "602": (RETRY, "token", "the access token has expired"),
        "603": (CONFIG, "access_denied", _PERMISSION),
        "604": (RETRY, "timeout", ""),
        "605": (BUG, "method", ""),
        "606": (RETRY, "rate_limited", "more calls in 20 seconds than Marketo allows"),
        "607": (WAIT, "daily_quota", "the calls of this day are used up"),
        "608": (RETRY, "unavailable", ""),
        "609": (BUG, "bad_json", ""),
        "610": (BUG, "no_such_resource", "check host"),
        "611": (RETRY, "server_error", ""),
        "612": (BUG, "content_type", ""),
        "613": (BUG, "multipart", ""),
        "614": (RETRY, "subscription", "the subscription was not found: check host if this stays"),
        "615": (RETRY, "concurrency", "more calls at once than Marketo allows"),
        "616": (CONFIG, "not_in_subscription", _IN_SUBSCRIPTION),
        "701": (BUG, "bad_parameter", ""),
        "702": (OK, "no_data", ""),
        "703": (CONFIG, "not_in_subscription", _IN_SUBSCRIPTION),
        "704": (BUG, "bad_parameter", ""),
        "709": (BUG, "asset_rule", ""),
        "710": (BUG, "asset_rule", ""),
        "711": (BUG, "asset_rule", ""),
        "713": (RETRY, "transient", ""),
        "719": (RETRY, "lock", ""),
        "1001": (BUG, "bad_parameter", ""),
        "1002": (BUG, "bad_parameter", ""),
        "1003": (BUG, "bad_parameter", ""),
        "1004": (REFUSED, "lead_not_found", ""),
        "1005": (ALREADY, "exists", ""),
        "1006": (BUG, "unknown_field", "a field that this instance does not have"),
        "1007": (REFUSED, "several_leads", ""),
        "1008": (CONFIG, "partition", _PARTITION),
        "1009": (CONFIG, "partition", _PARTITION),
        "1010": (CONFIG, "partition", _PARTITION),
        "1011": (BUG, "unknown_field", "a field that cannot be used here"),
        "1013": (CONFIG, "not_found", "Marketo does not know it, or the API user may not see it"),
        "1015": (REFUSED, "not_in_list", ""),
        "1016": (RETRY, "queue_full", "too many imports are queued"),
        "1017": (ALREADY, "exists", ""),
        "1018": (CONFIG, "crm_managed", "the CRM manages it"),
        "1019": (RETRY, "in_use", "an import is running on the list"),
        "1021": (CONFIG, "crm_managed", "the CRM manages it"),
        "1022": (RETRY, "in_use", "it is in use"),
        "1035": (CONFIG, "filter_unavailable", "this subscription cannot export by that filter"),
        "1042": (BUG, "bad_parameter", ""),
        "1049": (BUG, "bad_parameter", ""),
    }
)

#: 1029 has three meanings, told apart by their text only (facts D.3).
_CODE_1029 = (
    ("already queued", (ALREADY, "queued", "")),
    ("daily quota", (WAIT, "export_quota", "the export volume of this day is used up")),
    ("queue", (RETRY, "queue_full", "all places in the export queue are taken")),
)

#: Where several errors come together, the one that leaves least room wins.
_GRAVITY = (OK, ALREADY, RETRY, REFUSED, WAIT, BUG, CONFIG)


def classify(call: Call, outcome: Outcome, now: datetime) -> Answer:
    """OK with the envelope (a dict), or what the failure means. `now` (aware) dates the end of a quota."""
    if isinstance(outcome, NoReply):
        return unanswered(call, outcome)
    try:
        body = outcome.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and body.get("success") is True and outcome.status < 300:
        return Answer(OK, detail=_detail(call, outcome), value=body)
    if isinstance(body, dict) and body.get("success") is False and (errors := _errors(body)):
        found = [_by_code(call, error, now) for error in errors]
        return max(found, key=lambda answer: _GRAVITY.index(answer.kind))
    return by_status(call, outcome)


def unanswered(call: Call, outcome: NoReply) -> Answer:
    """No response. Every call that we make to Marketo may be repeated."""
    if outcome.certificate:
        return Answer(
            CONFIG, "certificate", f"{call.name}: {outcome.fault}: check host and REQUESTS_CA_BUNDLE"
        )
    return Answer(RETRY, "no_answer" if outcome.sent else "unreachable", f"{call.name}: {outcome.fault}")


def by_status(call: Call, reply: Reply) -> Answer:
    """An answer without Marketo's envelope: a gateway's page, an empty or a broken body."""
    detail = _detail(call, reply)
    status = reply.status
    if status == 401:
        return Answer(RETRY, "token", f"{detail}: the access token is not accepted")
    if status == 403:
        return Answer(CONFIG, "access_denied", f"{detail}: {_PERMISSION}")
    if status == 404:
        return Answer(CONFIG, "wrong_address", f"{detail}: check host")
    if 300 <= status < 400:
        return Answer(CONFIG, "redirect", f"{detail}: give the address it redirects to as host")
    if status == 429:
        return Answer(RETRY, "rate_limited", detail)
    if status == 408 or status >= 500:
        return Answer(RETRY, "server_error", detail)
    if status >= 400:
        return Answer(BUG, "unexpected_status", detail)
    return Answer(RETRY, "unreadable", f"{detail}: its body cannot be read")


def retry_at(now: datetime) -> datetime:
    """When Marketo counts from zero again: the next midnight in Chicago, with slack, as aware UTC."""
    tomorrow = now.astimezone(_CENTRAL).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), _CENTRAL).astimezone(UTC) + _QUOTA_SLACK


def _errors(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = body.get("errors")
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _by_code(call: Call, error: Mapping[str, Any], now: datetime) -> Answer:
    code = as_text(error.get("code")) or "(none)"
    kind, reason, remedy = CODES.get(code, (BUG, "unknown_code", "a code that this version does not know"))
    if code == "1029":
        text = str(error.get("message", "")).lower()
        kind, reason, remedy = next(
            (meaning for words, meaning in _CODE_1029 if words in text),
            (RETRY, "queue_full", "the export was not taken"),
        )
    code = code if code.isdecimal() else "(unreadable)"
    detail = f"{call.name} answered code {code}" + (f": {remedy}" if remedy else "")
    value: object = retry_at(now) if kind is WAIT else None
    return Answer(kind, reason, detail, {"success": True, "result": []} if kind is OK else value)


def _detail(call: Call, reply: Reply) -> str:
    return f"{call.name} answered {reply.status}"
