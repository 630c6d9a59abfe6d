"""Marketo's stand-in: identity, the envelope, lists, and the bulk export from create to the last byte."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
from typing import Any

import pytest
import requests

from airflow_sms_flow.sandbox import accounts
from tests.sandbox.sandbox_caller import Caller

EXPORT = "/bulk/v1/leads/export"
ASSET = "/rest/asset/v1"
IDENTITY = {
    "grant_type": "client_credentials",
    "client_id": accounts.MARKETO_CLIENT_ID,
    "client_secret": accounts.MARKETO_CLIENT_SECRET,
}
LEADS = [
    {
        "id": 1,
        "firstName": 'Al "Bo"',
        "lastName": "a,b",
        "mobilePhone": "(202) 555-0132",
        "blackListed": True,
    },
    {"id": 2, "firstName": "Line\nBreak", "lastName": "null", "unsubscribed": False, "favoriteStore_c": "🎉"},
    {"id": 3, "firstName": "", "createdAt": "2026-01-10T00:00:00Z"},
]
LISTS = [{"id": 9, "name": "Given", "lead_ids": [1, 2, 3]}, {"id": 10, "name": "Empty", "lead_ids": []}]
FIELDS = ["id", "firstName", "lastName", "mobilePhone", "blackListed", "unsubscribed", "favoriteStore_c"]


@pytest.fixture
def loaded(make_caller: Any) -> Caller:
    """Three leads on a smart list and a static list."""
    caller: Caller = make_caller(export_queued_seconds=10, export_processing_seconds=10)
    caller.load(leads=LEADS, smart_lists=LISTS, static_lists=LISTS)
    return caller


def create(caller: Caller, **changes: Any) -> requests.Response:
    body = {"fields": FIELDS, "format": "CSV", "filter": {"smartListId": 9}} | changes
    return caller.marketo("POST", f"{EXPORT}/create.json", json=body)


def create_id(caller: Caller, **changes: Any) -> str:
    return str(create(caller, **changes).json()["result"][0]["exportId"])


def status(caller: Caller, export_id: str) -> dict[str, Any]:
    found: dict[str, Any] = caller.marketo("GET", f"{EXPORT}/{export_id}/status.json").json()["result"][0]
    return found


def finished(caller: Caller, **changes: Any) -> str:
    export_id = create_id(caller, **changes)
    caller.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json")
    caller.advance(25)
    assert status(caller, export_id)["status"] == "Completed"
    return export_id


def test_a_token_stays_the_same_until_it_expires(caller: Caller) -> None:
    """Asked for early, the same token comes back with the seconds that are left; expired, it is 602."""
    url = caller.sandbox.url + "/identity/oauth/token"
    first = requests.get(url, params=IDENTITY, timeout=5).json()
    caller.advance(3000)
    second = requests.post(url, params=IDENTITY, timeout=5).json()
    assert first["access_token"] == second["access_token"]
    assert second["expires_in"] < 600 < first["expires_in"] <= 3600
    caller.token = first["access_token"]
    assert caller.marketo("GET", "/rest/v1/leads/describe.json").json()["success"] is True
    caller.advance(601)
    assert caller.error("GET", "/rest/v1/leads/describe.json")[0] == "602"
    assert caller.new_token() != first["access_token"]


def test_wrong_credentials_are_401_without_the_envelope(caller: Caller) -> None:
    """The identity service answers in a shape of its own."""
    query = IDENTITY | {"client_secret": "wrong"}
    answer = requests.get(caller.sandbox.url + "/identity/oauth/token", params=query, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


def test_only_the_header_carries_a_token(caller: Caller) -> None:
    """An unknown token is 601; one in the query is refused with an error of the 600 class."""
    caller.token = "made-up"
    assert caller.error("GET", "/rest/v1/leads/describe.json")[0] == "601"
    token = caller.new_token()
    assert caller.error("GET", f"/rest/v1/leads/describe.json?access_token={token}")[0] == "600"


def test_an_unknown_route_names_its_neighbours(caller: Caller) -> None:
    """Bulk paths have no /rest: 610, and what would have been there."""
    answer = caller.marketo("POST", "/rest/bulk/v1/leads/export/create.json")
    assert answer.status_code == 404
    assert "POST /bulk/v1/leads/export/create.json" in answer.json()["errors"][0]["message"]


def test_describe_tells_display_names_and_rest_names(caller: Caller) -> None:
    """Both versions name the same fields, the custom one included."""
    first = caller.marketo("GET", "/rest/v1/leads/describe.json").json()["result"]
    second = caller.marketo("GET", "/rest/v1/leads/describe2.json").json()["result"][0]["fields"]
    names = {one["displayName"]: one["rest"]["name"] for one in first}
    assert names["Favorite Store"] == "favoriteStore_c"
    assert names == {one["displayName"]: one["name"] for one in second}


@pytest.mark.parametrize("kind", ["smart", "static"])
def test_lists_are_found_by_id_and_by_name(loaded: Caller, kind: str) -> None:
    """No hit is a success with a warning and without result; dates end in Z+0000."""
    (found,) = loaded.marketo("GET", f"{ASSET}/{kind}List/9.json").json()["result"]
    assert found["name"] == "Given"
    assert found["createdAt"].endswith("Z+0000")
    path = f"{ASSET}/{kind}List/byName.json"
    assert loaded.marketo("GET", path, params={"name": "Given"}).json()["result"] == [found]
    for missing in (f"{ASSET}/{kind}List/77.json", f"{path}?name=given"):
        body = loaded.marketo("GET", missing).json()
        assert body["success"] is True
        assert body["warnings"] == ["No assets found for the given search criteria."]
        assert "result" not in body


def test_browsing_lists_comes_in_pages(loaded: Caller) -> None:
    """MaxReturn and offset; past the end it is the warning again."""
    ids = [one["id"] for one in loaded.marketo("GET", f"{ASSET}/smartLists.json").json()["result"]]
    assert ids == [1001, 1002, 1003, 1004, 1005, 9, 10]
    page = loaded.marketo("GET", f"{ASSET}/smartLists.json?maxReturn=5&offset=5").json()
    assert [one["id"] for one in page["result"]] == [9, 10]
    assert "result" not in loaded.marketo("GET", f"{ASSET}/smartLists.json?offset=7").json()


def test_static_list_members_come_in_pages(loaded: Caller) -> None:
    """Until there is no nextPageToken; both paths; members can be added and removed."""
    path = "/rest/v1/lists/9/leads.json"
    first = loaded.marketo("GET", path, params={"batchSize": 2, "fields": "mobilePhone"}).json()
    assert first["result"][0] == {"id": 1, "mobilePhone": "(202) 555-0132"}
    query = {"batchSize": 2, "nextPageToken": first["nextPageToken"]}
    second = loaded.marketo("GET", "/rest/v1/list/9/leads.json", params=query).json()
    assert [one["id"] for one in second["result"]] == [3]
    assert "nextPageToken" not in second
    assert loaded.marketo("GET", "/rest/v1/lists.json?name=Given").json()["result"][0]["id"] == 9
    assert loaded.error("GET", "/rest/v1/lists/77/leads.json")[0] == "1013"
    changed = loaded.marketo("DELETE", f"{path}?id=1&id=2").json()["result"]
    assert [one["status"] for one in changed] == ["removed", "removed"]
    added = loaded.marketo("POST", path, json={"input": [{"id": 2}, {"id": 99}]}).json()["result"]
    assert [one["status"] for one in added] == ["added", "skipped"]
    assert [one["id"] for one in loaded.marketo("GET", path).json()["result"]] == [2, 3]


def test_leads_are_found_by_id(loaded: Caller) -> None:
    """One by path, several by filter; unknown fields and leads have codes of their own."""
    assert loaded.marketo("GET", "/rest/v1/lead/1.json?fields=lastName").json()["result"] == [
        {"id": 1, "lastName": "a,b"}
    ]
    found = loaded.marketo("GET", "/rest/v1/leads.json?filterType=id&filterValues=1,3").json()["result"]
    assert [one["id"] for one in found] == [1, 3]
    assert loaded.error("GET", "/rest/v1/lead/77.json")[0] == "1004"
    assert loaded.error("GET", "/rest/v1/lead/1.json?fields=nope")[0] == "1006"
    assert loaded.error("GET", "/rest/v1/leads.json?filterType=mobilePhone&filterValues=1")[0] == "1003"


def test_an_export_walks_through_its_states(loaded: Caller) -> None:
    """Created, Queued, Processing, Completed; numbers and checksum at the end only."""
    created = create(loaded).json()["result"][0]
    assert created["status"] == "Created"
    export_id = created["exportId"]
    loaded.advance(100)
    assert status(loaded, export_id)["status"] == "Created"
    assert loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").status_code == 404
    queued = loaded.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json").json()["result"][0]
    assert queued["status"] == "Queued"
    loaded.advance(11)
    assert status(loaded, export_id)["status"] == "Processing"
    assert "fileSize" not in status(loaded, export_id)
    loaded.advance(10)
    done = status(loaded, export_id)
    file = loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").content
    assert (done["status"], done["numberOfRecords"], done["fileSize"]) == ("Completed", 3, len(file))
    assert done["fileChecksum"] == "sha256:" + hashlib.sha256(file).hexdigest()


def test_membership_is_that_of_the_start_of_processing(loaded: Caller) -> None:
    """Who joins the list after create and before processing is in the file."""
    export_id = create_id(loaded)
    loaded.load(smart_lists=[{"id": 9, "name": "Given", "lead_ids": [2]}])
    loaded.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json")
    loaded.advance(25)
    assert status(loaded, export_id)["numberOfRecords"] == 1


def test_the_file_shows_null_booleans_and_quotes_as_marketo_does(loaded: Caller) -> None:
    """Empty is the unquoted word null, as is a lead whose name is Null; columns can be renamed."""
    export_id = finished(loaded, columnHeaderNames={"id": "marketo_id"})
    text = loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").content.decode()
    assert text.splitlines()[0] == ",".join(["marketo_id", *FIELDS[1:]])
    assert '1,"Al ""Bo""","a,b",(202) 555-0132,true,null,null' in text
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[2] == ["2", "Line\nBreak", "null", "null", "null", "false", "🎉"]
    assert rows[3] == ["3", *["null"] * 6]


def test_tab_and_semicolon_formats_and_an_empty_list(loaded: Caller) -> None:
    """TSV and SSV change the delimiter; nobody on the list gives a file with its header only."""
    for name, delimiter in (("TSV", "\t"), ("SSV", ";")):
        export_id = finished(
            loaded, format=name, fields=["id", "lastName"], filter={"staticListName": "Given"}
        )
        text = loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").text
        assert text.splitlines()[:2] == [f"id{delimiter}lastName", f"1{delimiter}a,b"]
    export_id = finished(loaded, fields=["id"], filter={"staticListId": 10})
    assert loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").text == "id\n"
    assert status(loaded, export_id)["numberOfRecords"] == 0


def test_a_file_comes_in_ranges(loaded: Caller) -> None:
    """206 with Content-Range; past the end 416; the pieces make the whole."""
    url = f"{EXPORT}/{finished(loaded)}/file.json"
    whole = loaded.marketo("GET", url)
    assert whole.headers["Accept-Ranges"] == "bytes"
    first = loaded.marketo("GET", url, headers={"Range": "bytes=0-9"})
    rest = loaded.marketo("GET", url, headers={"Range": "bytes=10-"})
    size = len(whole.content)
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.headers["Content-Range"] == f"bytes 0-9/{size}"
    assert rest.headers["Content-Range"] == f"bytes 10-{size - 1}/{size}"
    assert first.content + rest.content == whole.content
    assert loaded.marketo("GET", url, headers={"Range": f"bytes={size}-"}).status_code == 416


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fields": []}, "1002"),
        ({"fields": ["id", "shoeSize"]}, "1006"),
        ({"filter": {}}, "1003"),
        ({"filter": {"smartListId": 9, "staticListId": 9}}, "1003"),
        ({"filter": {"smartListId": 77}}, "1013"),
        ({"filter": {"smartListId": "9"}}, "1001"),
        ({"filter": {"smartListName": "given"}}, "1013"),
        (
            {"filter": {"createdAt": {"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-03-01T00:00:00Z"}}},
            "1003",
        ),
        ({"filter": {"createdAt": "yesterday"}}, "1003"),
        ({"format": "XLS"}, "1003"),
    ],
)
def test_a_malformed_export_is_refused(loaded: Caller, change: dict[str, Any], code: str) -> None:
    """Each mistake has its code, inside HTTP 200."""
    assert create(loaded, **change).json()["errors"][0]["code"] == code


def test_exports_by_creation_date(loaded: Caller) -> None:
    """A span of up to 31 days chooses the leads created in it."""
    span = {"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-01-31T00:00:00Z"}
    assert status(loaded, finished(loaded, filter={"createdAt": span}))["numberOfRecords"] == 1


def test_a_subscription_without_smart_list_filters_says_1035(loaded: Caller) -> None:
    """Then only static lists can be exported."""
    loaded.panel("POST", "settings", json={"smart_list_filter_available": False})
    for wanted in ({"smartListId": 9}, {"smartListName": "Given"}):
        assert create(loaded, filter=wanted).json()["errors"][0]["code"] == "1035"
    assert create(loaded, filter={"staticListId": 9}).json()["success"] is True


def test_1029_has_three_meanings(make_caller: Any) -> None:
    """Queue full, quota used up, and already queued differ by their text only."""
    caller = make_caller(export_queue_limit=2, export_bytes_per_day=10)
    caller.load(leads=LEADS, smart_lists=LISTS)
    jobs = [create_id(caller) for _ in range(3)]
    for export_id in jobs[:2]:
        caller.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json")
    enqueue = f"{EXPORT}/{{}}/enqueue.json"
    assert caller.error("POST", enqueue.format(jobs[2])) == ("1029", "Too many jobs in queue")
    assert caller.error("POST", enqueue.format(jobs[0])) == ("1029", "Job already queued")
    caller.advance(60)
    assert caller.error("POST", enqueue.format(jobs[2])) == ("1029", "Export daily quota exceeded")
    caller.advance(86_400)
    caller.token = ""
    assert caller.marketo("POST", enqueue.format(jobs[2])).json()["success"] is True


def test_two_exports_run_at_once_and_the_others_wait(loaded: Caller) -> None:
    """The third starts when the first is over; a cancelled one makes room."""
    jobs = [create_id(loaded) for _ in range(4)]
    for export_id in jobs:
        loaded.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json")
    loaded.advance(11)
    assert [status(loaded, one)["status"] for one in jobs] == ["Processing"] * 2 + ["Queued"] * 2
    cancelled = loaded.marketo("POST", f"{EXPORT}/{jobs[0]}/cancel.json").json()["result"][0]
    assert cancelled["status"] == "Cancelled"
    assert [status(loaded, one)["status"] for one in jobs] == [
        "Cancelled",
        "Processing",
        "Processing",
        "Queued",
    ]
    loaded.advance(25)
    found = loaded.marketo("GET", f"{EXPORT}.json?status=Completed,Failed").json()["result"]
    assert [one["exportId"] for one in found] == jobs[1:]
    assert len(loaded.marketo("GET", f"{EXPORT}.json?status=canceled").json()["result"]) == 1


def test_only_the_user_that_created_a_job_sees_it(loaded: Caller) -> None:
    """For another API user it does not exist."""
    export_id = finished(loaded)
    loaded.token = loaded.new_token(accounts.OTHER_MARKETO_CLIENT_ID, accounts.OTHER_MARKETO_CLIENT_SECRET)
    assert loaded.error("GET", f"{EXPORT}/{export_id}/status.json")[0] == "1013"
    assert loaded.marketo("GET", f"{EXPORT}/{export_id}/file.json").status_code == 404
    assert loaded.marketo("GET", f"{EXPORT}.json").json()["result"] == []


def test_rate_and_daily_limits(make_caller: Any) -> None:
    """606 past the window's calls and 607 past the day's; tokens and token errors cost nothing."""
    caller = make_caller(marketo_calls_per_window=3, marketo_window_seconds=0.3, marketo_calls_per_day=4)
    path = "/rest/v1/leads/describe.json"
    caller.token = "made-up"
    assert [caller.error("GET", path)[0] for _ in range(5)] == ["601"] * 5
    caller.token = caller.new_token()
    assert [caller.marketo("GET", path).json()["success"] for _ in range(3)] == [True] * 3
    assert caller.error("GET", path)[0] == "606"
    threading.Event().wait(0.35)
    assert caller.marketo("GET", path).json()["success"] is True
    assert caller.error("GET", path)[0] == "607"
    caller.advance(86_400)
    caller.token = caller.new_token()
    assert caller.marketo("GET", path).json()["success"] is True


def test_more_calls_at_once_than_allowed_are_615(make_caller: Any) -> None:
    """The limit counts calls under way, not calls per time."""
    caller = make_caller(marketo_concurrent_calls=2, latency_seconds=0.2)
    token = caller.new_token()
    codes: list[str] = []

    def call() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        url = caller.sandbox.url + "/rest/v1/leads/describe.json"
        body = requests.get(url, headers=headers, timeout=5).json()
        codes.append(body["errors"][0]["code"] if "errors" in body else "fine")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["615", "615", "fine", "fine"]
    assert caller.panel("GET", "stats")["highest_in_flight"]["marketo"] == 4
