"""What an answer of Vibes means: facts A.2 to A.7 as functions, and DESIGN's table for `POST …/events`.

`lost` says what a lost answer means for the call at hand: RETRY where a repeat is harmless, IN_DOUBT where
the call may have texted somebody. The vendor publishes no error codes, so the HTTP status and a few words in
the raw body decide; no word of a body is ever passed on, for bodies echo phone numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from airflow_sms_flow.clients._wire import Call, NoReply, Outcome, Reply
from airflow_sms_flow.clients.vibes_records import Participation, Person, parse_participation, parse_person
from airflow_sms_flow.core.answers import Answer, AnswerClass

OK, ALREADY, REFUSED = AnswerClass.OK, AnswerClass.ALREADY, AnswerClass.REFUSED
RETRY, BUG, CONFIG, IN_DOUBT = AnswerClass.RETRY, AnswerClass.BUG, AnswerClass.CONFIG, AnswerClass.IN_DOUBT

_CONFIG_STATUS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        401: ("credentials", "check login, password and region of the Vibes connection"),
        403: ("forbidden", "these credentials may not do this for this company_key: check both"),
    }
)
_REDIRECTS = (301, 302, 303, 307, 308)

#: Words in the body of a 422 to POST participants, in this order: several errors may come together.
_PARTICIPANT_WORDS: tuple[tuple[str, AnswerClass, str], ...] = (
    ("mdnhasconfirmationblock", REFUSED, "confirmation_block"),
    ("externalpersonidmismatch", REFUSED, "id_conflict"),
    ("custom field", CONFIG, "unknown_custom_field"),
    ("custom_field", CONFIG, "unknown_custom_field"),
    ("landline", REFUSED, "carrier"),
    ("carrier", REFUSED, "carrier"),
)


def common(call: Call, outcome: Outcome, *, lost: AnswerClass) -> Answer | Reply:
    """What means the same for every call; otherwise the reply, for the call's own table."""
    if isinstance(outcome, NoReply):
        return _unanswered(call, outcome, lost)
    status = outcome.status
    if status == 429:
        return said(call, outcome, RETRY, "rate_limited", "more calls than the vendor allows")
    if status in _CONFIG_STATUS:
        return said(call, outcome, CONFIG, *_CONFIG_STATUS[status])
    if status in _REDIRECTS:
        return said(call, outcome, CONFIG, "redirect", "give the address it redirects to as host")
    if status == 503 and _is_envelope(outcome):
        return said(call, outcome, RETRY, "unavailable", "the vendor says it is unavailable")
    if status >= 500 or status == 408 or status < 200:
        return said(call, outcome, lost, "server_error")
    if status == 404 and not outcome.is_json():
        # A gateway's page, not the vendor's "no": taken for one, somebody would stay on a list.
        return said(
            call, outcome, RETRY, "foreign_404", "not the vendor's own answer; check host if it stays"
        )
    return outcome


def _unanswered(call: Call, outcome: NoReply, lost: AnswerClass) -> Answer:
    if outcome.certificate:
        return Answer(
            CONFIG, "certificate", f"{call.name}: {outcome.fault}: check host and REQUESTS_CA_BUNDLE"
        )
    kind, reason = (lost, "no_answer") if outcome.sent else (RETRY, "unreachable")
    return Answer(kind, reason, f"{call.name}: {outcome.fault}")


def _is_envelope(reply: Reply) -> bool:
    """The vendor's own error body: {"errors": [{"message": …, "code": …}]}."""
    try:
        body = reply.json()
    except ValueError:
        return False
    errors = body.get("errors") if isinstance(body, dict) else None
    return isinstance(errors, list) and bool(errors) and all(isinstance(error, dict) for error in errors)


def said(
    call: Call, reply: Reply, kind: AnswerClass, reason: str | None, why: str = "", value: object = None
) -> Answer:
    """An answer whose detail is the path template, the status and a sentence of ours."""
    detail = f"{call.name} answered {reply.status}"
    return Answer(kind, reason, f"{detail}: {why}" if why else detail, value)


def unreadable(call: Call, reply: Reply, lost: AnswerClass) -> Answer:
    """A good status with a body that is broken off or not what the vendor describes."""
    return said(call, reply, lost, "unreadable", "its body cannot be read")


def unexpected(call: Call, reply: Reply, lost: AnswerClass) -> Answer:
    """No table names this status: a success we cannot read, or our own request is wrong."""
    if reply.status < 400:
        return unreadable(call, reply, lost)
    return said(call, reply, BUG, "unexpected_status")


def read_setup(call: Call, outcome: Outcome, parse: Callable[[object], object]) -> Answer:
    """A reading call about lists and campaigns: the value, or CONFIG for 404."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    if reply.status == 200:
        try:
            return said(call, reply, OK, None, value=parse(reply.json()))
        except ValueError:
            return unreadable(call, reply, RETRY)
    if reply.status == 404:
        return said(call, reply, CONFIG, "not_found", "unknown to Vibes for this company_key and host")
    return unexpected(call, reply, RETRY)


def read_person(call: Call, outcome: Outcome, *, found: str, missing: str, mdn: str | None) -> Answer:
    """A lookup of one person: OK(found) with a `Person`, or OK(missing) with None."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    if reply.status == 404:
        return said(call, reply, OK, missing)
    if reply.status == 400 and b"countrynotsupported" in reply.body.lower():
        return said(call, reply, BUG, "not_e164", "the number or the API version is not what it must be")
    if reply.status in (400, 422):
        return said(call, reply, REFUSED, "bad_number" if mdn else "unprocessable")
    if reply.status != 200:
        return unexpected(call, reply, RETRY)
    return _person_found(call, reply, found, missing, mdn)


def _person_found(call: Call, reply: Reply, found: str, missing: str, mdn: str | None) -> Answer:
    try:
        body = reply.json()
        if body == []:
            return said(call, reply, OK, missing)
        person: Person = parse_person(body)
    except ValueError:
        return unreadable(call, reply, RETRY)
    if mdn and person.mdn and person.mdn.lstrip("+") != mdn.lstrip("+"):
        return said(call, reply, BUG, "another_person", "Vibes answered about another number than asked")
    return said(call, reply, OK, found, value=person)


def read_records(
    call: Call, outcome: Outcome, parse: Callable[[object], object], *, not_found: Answer
) -> Answer:
    """A reading call about one person's records; `not_found` is what the vendor's own 404 means."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    if reply.status == 200:
        try:
            return said(call, reply, OK, None, value=parse(reply.json()))
        except ValueError:
            return unreadable(call, reply, RETRY)
    if reply.status == 404:
        return said(call, reply, not_found.kind, not_found.reason, not_found.detail, not_found.value)
    if reply.status in (400, 422):
        return said(call, reply, REFUSED, "bad_number" if reply.status == 400 else "unprocessable")
    return unexpected(call, reply, RETRY)


def read_participant(call: Call, outcome: Outcome) -> Answer:
    """`POST …/participants`, facts A.2. A repeat is harmless there, but the caller asks Vibes first."""
    reply = common(call, outcome, lost=IN_DOUBT)
    if isinstance(reply, Answer):
        return reply
    match reply.status:
        case 200 | 201:
            return _participation(call, reply)
        case 400:
            return said(call, reply, REFUSED, "bad_number")
        case 404:
            return said(call, reply, CONFIG, "not_found", "check acquisition_campaign_id and company_key")
        case 409:
            return said(call, reply, ALREADY, "subscribed")
        case 422:
            return _unprocessable_participant(call, reply)
        case _:
            return unexpected(call, reply, IN_DOUBT)


def _participation(call: Call, reply: Reply) -> Answer:
    try:
        participation: Participation = parse_participation(reply.json())
    except ValueError:
        return unreadable(call, reply, IN_DOUBT)
    reason = {"PENDING": "pending", "SUBSCRIBED": "subscribed"}.get(participation.status)
    if reason is None:
        return unreadable(call, reply, IN_DOUBT)
    return said(call, reply, OK if reply.status == 201 else ALREADY, reason, value=participation)


def _unprocessable_participant(call: Call, reply: Reply) -> Answer:
    if not reply.complete:
        return said(call, reply, RETRY, "unreadable", "the reason broke off")
    words = reply.body.decode("utf-8", "replace").lower()
    for word, kind, reason in _PARTICIPANT_WORDS:
        if word in words:
            why = "a custom field that Vibes does not know: create it there" if kind is CONFIG else ""
            return said(call, reply, kind, reason, why)
    return said(call, reply, REFUSED, "unprocessable")


def read_unsubscribe(call: Call, outcome: Outcome) -> Answer:
    """`DELETE …/subscriptions/{list}`, facts A.5: naturally idempotent, so a lost answer is RETRY."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    match reply.status:
        case 200 | 204:
            return said(call, reply, OK, "unsubscribed")
        case 404:
            return said(call, reply, ALREADY, "not_subscribed")
        case 422:
            return said(call, reply, REFUSED, "unprocessable")
        case _:
            return unexpected(call, reply, RETRY)


def read_event(call: Call, outcome: Outcome) -> Answer:
    """`POST …/events`, DESIGN "What an answer to POST …/events means". 202 is accepted, not delivered."""
    reply = common(call, outcome, lost=IN_DOUBT)
    if isinstance(reply, Answer):
        # Nothing here may be repeated but what certainly did not happen; a strange 404 is a wrong host.
        return Answer(CONFIG, reply.reason, reply.detail) if reply.reason == "foreign_404" else reply
    match reply.status:
        case 200 | 202:
            return _accepted(call, reply)
        case 400:
            return said(call, reply, REFUSED, "bad_request")
        case 404:
            return said(call, reply, CONFIG, "not_found", "check company_key and host")
        case 413:
            return said(call, reply, REFUSED, "too_large")
        case 422:
            return said(call, reply, REFUSED, "unprocessable")
        case _:
            return unexpected(call, reply, IN_DOUBT)


def _accepted(call: Call, reply: Reply) -> Answer:
    """The vendor declares no body for 202: none is fine, an object is fine, anything else is not its own."""
    try:
        body = reply.json()
    except ValueError:
        return unreadable(call, reply, IN_DOUBT)
    if body is not None and not isinstance(body, dict):
        return unreadable(call, reply, IN_DOUBT)
    if body and body.get("errors"):
        return unreadable(call, reply, IN_DOUBT)
    return said(call, reply, OK, "accepted")


def read_created(call: Call, outcome: Outcome, parse: Callable[[object], object], *, refused: str) -> Answer:
    """Something is made once: 200, 201 or 202 is created, with or without the thing in the body; `refused`
    says what to check after 400 and 422."""
    reply = common(call, outcome, lost=IN_DOUBT)
    if isinstance(reply, Answer):
        return reply
    match reply.status:
        case 200 | 201 | 202:
            try:
                body = reply.json()
                return said(call, reply, OK, "created", value=None if not body else parse(body))
            except ValueError:
                return unreadable(call, reply, IN_DOUBT)
        case 400 | 422:
            return said(call, reply, CONFIG, "refused", refused)
        case 404:
            return said(call, reply, CONFIG, "not_found", "check company_key and host")
        case 409:
            return said(call, reply, ALREADY, "exists")
        case _:
            return unexpected(call, reply, IN_DOUBT)


def read_deleted(call: Call, outcome: Outcome) -> Answer:
    """Something is taken away: a repeat is harmless, and the vendor's 404 means that it is gone."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    match reply.status:
        case 200 | 202 | 204:
            return said(call, reply, OK, "deleted")
        case 404:
            return said(call, reply, ALREADY, "gone")
        case _:
            return unexpected(call, reply, RETRY)


def read_fired(call: Call, outcome: Outcome, parse: Callable[[object], object]) -> Answer:
    """`POST …/callback_events/test`, facts B.2: a test more does no harm, so a lost answer is RETRY."""
    reply = common(call, outcome, lost=RETRY)
    if isinstance(reply, Answer):
        return reply
    match reply.status:
        case 200 | 201 | 202:
            try:
                return said(call, reply, OK, "fired", value=parse(reply.json()))
            except ValueError:
                return unreadable(call, reply, RETRY)
        case 400 | 422:
            return said(call, reply, CONFIG, "refused", "Vibes does not take our test event")
        case 404:
            return said(call, reply, CONFIG, "not_registered", "no registration of that type is active")
        case _:
            return unexpected(call, reply, RETRY)
