"""Marketo's REST API (facts D): one class over one session, reading only.

Methods repeat passing faults themselves, with jitter and within bounds, and raise what cannot be mended:
`ConfigError`, `BugError`, `QuotaExhausted` (nothing before its `retry_at`), `Unavailable`, `Stopped`.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from airflow_sms_flow.clients import marketo_download, marketo_export
from airflow_sms_flow.clients._patience import Patience, Stop, Waiter, value_or_raise
from airflow_sms_flow.clients._transport import Transport
from airflow_sms_flow.clients._wire import Call, NoReply, Timeout, as_objects, normalise_host
from airflow_sms_flow.clients.marketo_answers import FLOOR_SECONDS, classify
from airflow_sms_flow.clients.marketo_records import (
    AssetList,
    DownloadBroken,
    EarlierTry,
    ExportJob,
    ExportProgress,
    ExportResult,
    LeadField,
    SmartListFilter,
    SmartListFilterUnavailable,
    StaticListFilter,
    WrongFile,
    parse_asset,
    parse_field,
    parse_job,
)
from airflow_sms_flow.clients.marketo_token import TokenCache
from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import ConfigError, InvalidInput, Stopped

__all__ = [
    "AssetList",
    "DownloadBroken",
    "EarlierTry",
    "ExportJob",
    "ExportProgress",
    "ExportResult",
    "LeadField",
    "MarketoClient",
    "Patience",
    "SmartListFilter",
    "SmartListFilterUnavailable",
    "StaticListFilter",
    "WrongFile",
]

Parse = Callable[[list[Mapping[str, Any]]], object]

_DESCRIBE = Call("GET", "/rest/v1/leads/describe.json")
_EXPORT = "/bulk/v1/leads/export/{export_id}"
#: How long to wait for the rate limit when a job is cancelled on the way out.
_ABANDON_SECONDS = 5.0
#: A full export queue empties in minutes: so many rounds of patience, three minutes each by default.
_QUEUE_ROUNDS = 10


def half_of_the_limits() -> Ring:
    """Half of 100 calls in 20 seconds and 10 at once: the rest is for other integrations (facts D.2)."""
    return Ring(50, 20.0, concurrency=5)


class MarketoClient:
    """One Marketo instance as one API user. Threads may share it.

    `host` may be any http(s) address; the `/rest` that Marketo's own page shows at its end is cut off.
    `timeout` is (connect, read) in seconds. The default ring takes half of what the instance allows:
    50 calls in 20 s, 5 at once. Raises `InvalidInput` for an unusable setting.
    """

    def __init__(
        self,
        *,
        host: str,
        client_id: str,
        client_secret: str,
        timeout: Timeout = (5.0, 60.0),
        ring: Ring | None = None,
        stop: Stop | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not client_id or not client_secret:
            remedy = "put client id (login) and client secret (password) into the Marketo connection"
            raise InvalidInput("client_id", "(empty)", remedy)
        base_url = normalise_host(host, drop=("/rest", "/identity"))
        self._transport = Transport(base_url, timeout=timeout, pool_maxsize=5)
        self._tokens = TokenCache(self._transport, client_id, client_secret)
        self._ring = ring or half_of_the_limits()
        self._stop, self._now = stop, now
        self._patience = patience or Patience(floors=FLOOR_SECONDS)
        self._waiter = Waiter(stop, sleep)

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    # -- lists and fields ---------------------------------------------------------------------------------

    def find_smart_list(self, id_or_name: int | str) -> AssetList:
        """The smart list with this id or exact name. Raises `ConfigError` where there is none, or several."""
        return self._find(
            "smart_list",
            id_or_name,
            "/rest/asset/v1/smartList/{id}.json",
            "/rest/asset/v1/smartList/byName.json",
        )

    def find_static_list(self, id_or_name: int | str) -> AssetList:
        """The static list with this id or exact name. Raises as `find_smart_list` does."""
        return self._find("static_list", id_or_name, "/rest/v1/lists/{id}.json", "/rest/v1/lists.json")

    def describe_leads(self) -> dict[str, LeadField]:
        """All fields of the lead database by REST name."""
        fields: dict[str, LeadField] = value_or_raise(self._persist(_DESCRIBE, _fields))
        return fields

    def check_fields(self, names: Sequence[str]) -> dict[str, LeadField]:
        """These fields. Raises `InvalidInput` for names that Marketo lacks: one fails a whole export."""
        known = self.describe_leads()
        unknown = [name for name in names if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.5)
            hint = f"; near {unknown[0]!r}: {', '.join(near)}" if near else ""
            raise InvalidInput("fields", unknown, f"use REST names that this Marketo instance has{hint}")
        return {name: known[name] for name in names}

    def check(self) -> str:
        """Proves host, credentials and API access in one try each; a sentence for the Test button."""
        fields = value_or_raise(self._ask(_DESCRIBE, _fields))
        return f"Marketo answers; the lead database has {len(fields)} fields"

    # -- bulk lead export ---------------------------------------------------------------------------------

    def export_leads(
        self,
        fields: Sequence[str],
        list_filter: SmartListFilter | StaticListFilter,
        to: Path,
        *,
        poll_interval_seconds: float = 60.0,
        on_progress: Callable[[ExportProgress], None] | None = None,
        earlier: EarlierTry | None = None,
    ) -> ExportResult:
        """Export the list's members as CSV to `to` (mode 0600, whole or not at all), and wait for it.

        The file is checked against Marketo's size and sha256. Raises `SmartListFilterUnavailable` where the
        subscription cannot export by smart list, `QuotaExhausted` where a day's volume is used up,
        `Unavailable` after two failed jobs or downloads, `Stopped`; a job under way is cancelled then.
        `DownloadBroken` leaves a part of the file beside `to`: with `earlier`, another try goes on with it.
        `on_progress` is called at each poll and for every 64 KiB: it should be quick.
        """
        export = marketo_export.LeadExport(
            self,
            fields,
            list_filter,
            to,
            poll_interval_seconds=poll_interval_seconds,
            on_progress=on_progress,
            earlier=earlier or EarlierTry(),
        )
        return export.run()

    def create_export(
        self, fields: Sequence[str], list_filter: SmartListFilter | StaticListFilter
    ) -> ExportJob:
        """A new job, not yet queued."""
        body = {"fields": list(fields), "format": "CSV", "filter": list_filter.body()}
        call = Call("POST", "/bulk/v1/leads/export/create.json", body=body)
        answer = self._persist_in_queue(call, _first_job)
        if answer.reason == "filter_unavailable" and isinstance(list_filter, SmartListFilter):
            raise SmartListFilterUnavailable(
                f"{answer.detail}. Give static_list instead: a smart campaign in Marketo can fill one from "
                "the smart list; or ask Adobe to switch the smartListId filter on"
            )
        return self._job(answer)

    def enqueue_export(self, export_id: str) -> None:
        """Queue a created job. One that is queued already is fine; a full queue is waited for, in minutes."""
        call = self._export_call("POST", "/enqueue.json", export_id)
        value_or_raise(self._persist_in_queue(call, _nothing))

    def get_export(self, export_id: str) -> ExportJob:
        """The job as it stands. Marketo refreshes it once a minute."""
        call = self._export_call("GET", "/status.json", export_id)
        return self._job(self._persist(call, _first_job))

    def cancel_export(self, export_id: str) -> ExportJob:
        """Take a job out of the queue or end it."""
        call = self._export_call("POST", "/cancel.json", export_id)
        return self._job(self._persist(call, _first_job))

    def abandon_export(self, export_id: str) -> None:
        """Cancel a job on the way out, in one try, also when told to stop. A failure is let go."""
        deadline = time.monotonic() + _ABANDON_SECONDS
        try:
            call = self._export_call("POST", "/cancel.json", export_id)
            self._ask(call, _nothing, stop=lambda: time.monotonic() > deadline)
        except Stopped:
            return

    def fetch_export_file(self, job: ExportJob, sink: BinaryIO, notify: Callable[[int], None]) -> Answer:
        """One try to fetch the file from where `sink` stands; RETRY keeps the bytes that came."""
        call = self._export_call("GET", "/file.json", job.export_id)
        return self._pour(call, job, sink, notify)

    # -- for the export -----------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Wait; raises `Stopped` within a second of being told to stop."""
        self._waiter.pause(seconds)

    def pause_after(self, answer: Answer, attempt: int) -> None:
        """Back off after a passing fault, `attempt` counting from 0."""
        patience = self._patience
        jitter = random.uniform(0.0, min(patience.longest_wait, patience.first_wait * 2**attempt))
        self.pause(patience.floors.get(answer.reason or "", 0.0) + jitter)

    # -- inside -------------------------------------------------------------------------------------------

    def _find(self, field: str, id_or_name: int | str, by_id: str, by_name: str) -> AssetList:
        typed = str(id_or_name).strip()
        if not typed:
            raise InvalidInput(field, id_or_name, "give the id or the exact name of a list in Marketo")
        found: list[AssetList] = []
        if typed.isascii() and typed.isdecimal():
            found = self._assets(Call("GET", by_id, path={"id": int(typed)}))
        if not found and not isinstance(id_or_name, int):
            found = self._assets(Call("GET", by_name, query={"name": typed}))
        if not found:
            raise ConfigError(
                f"{field}={id_or_name!r}: Marketo knows no such list, or the API user may not see it. Give "
                "the number in the list's address in Marketo (…#SL1234A1 is 1234), or its exact name"
            )
        if len(found) > 1:
            ids = ", ".join(str(asset.id) for asset in found)
            raise ConfigError(
                f"{field}={id_or_name!r}: several lists have this name. Give one of the ids {ids}"
            )
        return found[0]

    def _assets(self, call: Call) -> list[AssetList]:
        answer = self._persist(call, lambda result: [parse_asset(item) for item in result])
        if answer.reason == "not_found":
            return []
        found: list[AssetList] = value_or_raise(answer)
        return found

    def _job(self, answer: Answer) -> ExportJob:
        job: ExportJob = value_or_raise(answer)
        return job

    def _export_call(self, method: str, tail: str, export_id: str) -> Call:
        return Call(method, _EXPORT + tail, path={"export_id": export_id})

    def _persist(self, call: Call, parse: Parse) -> Answer:
        return self._waiter.persist(lambda: self._ask(call, parse), self._patience)

    def _persist_in_queue(self, call: Call, parse: Parse) -> Answer:
        for _ in range(_QUEUE_ROUNDS - 1):
            answer = self._persist(call, parse)
            if answer.reason != "queue_full":
                return answer
        return self._persist(call, parse)

    def _ask(self, call: Call, parse: Parse, stop: Stop | None = None) -> Answer:
        """One try; the value of OK is what `parse` makes of the `result` array."""

        def attempt(token: str) -> Answer:
            with self._ring.take(stop or self._stop) as slot:
                outcome = self._transport.exchange(call, _headers(token))
                if isinstance(outcome, NoReply) and outcome.sent:
                    slot.give_back(self._transport.timeout[1])
            return _read(call, classify(call, outcome, self._now()), parse)

        return self._with_token(attempt)

    def _pour(self, call: Call, job: ExportJob, sink: BinaryIO, notify: Callable[[int], None]) -> Answer:
        def attempt(token: str) -> Answer:
            headers = {**_headers(token), **marketo_download.range_header(job, sink.tell())}
            with self._ring.take(self._stop):
                response = self._transport.open(call, headers, accept_encoding="identity")
                if isinstance(response, NoReply):
                    return classify(call, response, self._now())
                with response:
                    poured = marketo_download.pour(call, response, sink, self._check_stop, notify)
            return poured if isinstance(poured, Answer) else classify(call, poured, self._now())

        return self._with_token(attempt)

    def _check_stop(self) -> None:
        self._waiter.pause(0.0)

    def _with_token(self, attempt: Callable[[str], Answer]) -> Answer:
        """Attempt, once more with a new token where Marketo says 601 or 602, and then it is a setting."""
        answer = Answer(AnswerClass.CONFIG)
        for _ in range(2):
            token = self._tokens.get()
            if token.kind is not AnswerClass.OK:
                return token
            answer = attempt(token.value)
            if answer.reason == "rate_limited":
                self._ring.slow_down()
            if answer.reason != "token":
                return answer
            self._tokens.forget(token.value)
        detail = f"{answer.detail}, a new one neither: check the API user of the Marketo connection"
        return replace(answer, kind=AnswerClass.CONFIG, detail=detail)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def _read(call: Call, answer: Answer, parse: Parse) -> Answer:
    if answer.kind is not AnswerClass.OK:
        return answer
    try:
        # No hit is a success without `result`, or with a warning, or with none of both (facts D.3).
        return replace(answer, value=parse(as_objects(answer.value.get("result") or [])))
    except ValueError:
        return Answer(AnswerClass.RETRY, "unreadable", f"{call.name}: its result cannot be read")


def _first_job(result: list[Mapping[str, Any]]) -> ExportJob:
    if not result:
        raise ValueError("no job in the result")
    return parse_job(result[0])


def _fields(result: list[Mapping[str, Any]]) -> dict[str, LeadField]:
    fields = (parse_field(item) for item in result)
    return {field.rest_name: field for field in fields if field is not None}


def _nothing(result: list[Mapping[str, Any]]) -> None:
    """For calls whose result does not matter."""
