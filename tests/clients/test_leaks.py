"""No number, secret or identifier reaches a log, a text or a traceback, also at DEBUG: "What leaks"."""

from __future__ import annotations

import http.client
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_sms_flow.clients.marketo import MarketoClient, SmartListFilter
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.errors import SmsFlowError
from tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    cut,
    envelope,
    hang,
    hang_up,
    raw,
    reset,
)
from tests.clients.test_marketo import good, token

NUMBER = "2025550132"
MDN = f"+1{NUMBER}"
PERSON_KEY = "aaaa-bbbb-key"
EXTERNAL_ID = "lead-424242"
SECRET = "sw0rdfish-secret"
TOKEN = "t0ken-t0ken"
TEXT = "Dear Ms Miller"
FORBIDDEN = (NUMBER, PERSON_KEY, EXTERNAL_ID, SECRET, TOKEN, TEXT)

ECHO = f"the number {MDN} of {PERSON_KEY}, {EXTERNAL_ID}: {TEXT}"
MISBEHAVIOURS: dict[str, Step] = {
    "echo_400": answer(400, envelope(ECHO)),
    "echo_404": answer(404, envelope(ECHO)),
    "echo_422": answer(422, envelope(ECHO)),
    "echo_500": answer(500, ECHO.encode()),
    "echo_json": answer(200, {"person_key": PERSON_KEY, "mobile_phone": {"mdn": MDN}}),
    "unauthorised": answer(401, envelope(ECHO)),
    "redirect": answer(302, headers={"Location": f"/elsewhere?mdn={NUMBER}"}),
    "garbage": raw(f"{ECHO}\r\n\r\n".encode()),
    "headerless": raw(f"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{ECHO}".encode()),
    "odd_header": raw(f"HTTP/1.1 200 OK\r\nX: y\r\n{ECHO}\r\n\r\n{{}}".encode()),
    "odd_status": raw(f"HTTP/1.1 {ECHO}\r\n\r\n".encode()),
    "cut": cut(200, ECHO.encode(), 20),
    "reset": reset,
    "hang_up": hang_up,
    "hang": hang(0.4),
}


class Everything(logging.Handler):
    """Keeps what any logger says, formatted with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record) + repr(record.args))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Everything logged at DEBUG or printed since, http.client's own debug output switched on."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    http.client.HTTPConnection.debuglevel = 1

    def everything() -> str:
        printed = capsys.readouterr()
        return "\n".join([*handler.texts, printed.out, printed.err])

    yield everything
    http.client.HTTPConnection.debuglevel = 0
    root.removeHandler(handler)
    root.setLevel(level)


def every_vibes_call(client: VibesClient) -> list[Callable[[], object]]:
    return [
        lambda: client.find_subscriber("12", mdn=MDN),
        lambda: client.find_subscriber("12", external_person_id=EXTERNAL_ID),
        lambda: client.find_person(mdn=MDN),
        lambda: client.find_pending("ACQ1", mdn=MDN),
        lambda: client.get_subscriptions(PERSON_KEY),
        lambda: client.add_participant("ACQ1", mdn=MDN, external_person_id=EXTERNAL_ID),
        lambda: client.unsubscribe("12", person_key=PERSON_KEY),
        lambda: client.unsubscribe("12", external_person_id=EXTERNAL_ID),
        lambda: client.send_event("spring", "event-1", MDN, {"message_body": TEXT}),
        lambda: client.get_subscription_list("12"),
        lambda: client.check(),
    ]


def outcome_of(call: Callable[[], object]) -> str:
    """What a task log would show of it: the answer, or the traceback with every chained cause."""
    try:
        return repr(call())
    except SmsFlowError as error:
        chained = error.__cause__ or error.__context__
        return traceback.format_exc() + repr(error) + repr((chained, getattr(chained, "__dict__", None)))


def assert_nothing_leaks(text: str) -> None:
    assert [word for word in FORBIDDEN if word in text] == []


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_no_call_to_vibes_leaks_whatever_comes_back(
    make_vibes: Callable[..., VibesClient], said: Callable[[], str], name: str
) -> None:
    """Queries, path identifiers, bodies and credentials, in logs, answers and tracebacks."""
    with ScriptedServer(forever=MISBEHAVIOURS[name]) as server:
        client = make_vibes(server.url, timeout=(0.2, 0.2))
        shown = [outcome_of(call) for call in every_vibes_call(client)]
        shown += [repr(client), str(vars(client).keys())]
    logged = said()
    assert "urllib3" in logged, "the test must see what urllib3 logs"
    assert_nothing_leaks(logged + "\n".join(shown))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_unreachable_vendor_leaks(
    make_vibes: Callable[..., VibesClient],
    make_marketo: Callable[..., MarketoClient],
    said: Callable[[], str],
    scheme: str,
) -> None:
    """The exceptions of requests and urllib3 carry the whole address: none of it is chained."""
    host = f"{scheme}://127.0.0.1:1"
    vibes, marketo = make_vibes(host), make_marketo(host)
    shown = [outcome_of(call) for call in [*every_vibes_call(vibes), marketo.check, marketo.describe_leads]]
    assert_nothing_leaks(said() + "\n".join(shown))


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_neither_marketos_secret_nor_its_token_leaks(
    make_marketo: Callable[..., MarketoClient], said: Callable[[], str], tmp_path: Path, name: str
) -> None:
    """The token's address holds the secret (facts D.1)."""
    step = MISBEHAVIOURS[name]
    with ScriptedServer(forever=step) as refusing, ScriptedServer(token(TOKEN), forever=step) as failing:
        shown = []
        for server in (refusing, failing):
            client = make_marketo(server.url, timeout=(0.2, 0.2))
            shown += [outcome_of(client.check), outcome_of(lambda: client.find_smart_list("Offers"))]  # noqa: B023  # called at once
        assert "client_secret" in refusing.requests[0].query, "the secret must have travelled"
        shown.append(
            outcome_of(lambda: client.export_leads(["id"], SmartListFilter(1), tmp_path / "leads.csv"))
        )
    assert_nothing_leaks(said() + "\n".join(shown))


def test_what_urllib3_logs_is_the_template(
    make_marketo: Callable[..., MarketoClient], said: Callable[[], str]
) -> None:
    """A DEBUG log stays useful: method, template and status stand in it."""
    with ScriptedServer(token(TOKEN), good({"id": 1, "name": "x"})) as server:
        make_marketo(server.url).find_smart_list(1)
        assert server.requests[1].path == "/rest/asset/v1/smartList/1.json"
    assert '"GET /rest/asset/v1/smartList/:id.json HTTP/1.1" 200' in said()
