"""The fixed points of the sandbox: accounts, lists and campaigns that every start of it has."""

from __future__ import annotations

from dataclasses import dataclass

#: The Vibes account that demo, README and DAGs use.
COMPANY_KEY = "acme"
VIBES_LOGIN = "sandbox-user"
VIBES_PASSWORD = "sandbox-password"

#: A second company, without any list: its credentials get 403 at the first one.
OTHER_COMPANY_KEY = "globex"
OTHER_VIBES_LOGIN = "globex-user"
OTHER_VIBES_PASSWORD = "globex-password"

#: The Marketo API user that demo, README and DAGs use.
MARKETO_CLIENT_ID = "sandbox-client"
MARKETO_CLIENT_SECRET = "sandbox-secret"

#: A second API user of the same instance: it cannot see the first one's export jobs.
OTHER_MARKETO_CLIENT_ID = "other-client"
OTHER_MARKETO_CLIENT_SECRET = "other-secret"

#: The short code that texts come from, and its calling code.
SOURCE_CODE = "52623"
COUNTRY_CODE = "1"

#: Person custom fields that exist at Vibes; any other name is refused with 422.
CUSTOM_FIELDS = ("first_name", "last_name", "favorite_store")

SMART_LIST_AUDIENCE = 1001
SMART_LIST_INVITE = 1002
SMART_LIST_LEAVING = 1003
SMART_LIST_NOBODY = 1004
SMART_LIST_ONE = 1005

#: Marketo smart lists, id to name.
SMART_LISTS = {
    SMART_LIST_AUDIENCE: "Summer offer audience",
    SMART_LIST_INVITE: "Invite to Store news",
    SMART_LIST_LEAVING: "Leaving customers",
    SMART_LIST_NOBODY: "Nobody",
    SMART_LIST_ONE: "One person",
}

#: Marketo static lists: id, name, and the smart list whose members they hold at the start.
STATIC_LISTS = (
    (5001, "Summer offer audience (static)", SMART_LIST_AUDIENCE),
    (5002, "Invite to Store news (static)", SMART_LIST_INVITE),
    (5003, "Leaving customers (static)", SMART_LIST_LEAVING),
    (5004, "Nobody (static)", SMART_LIST_NOBODY),
)


@dataclass(frozen=True, slots=True)
class ListSpec:
    """A Vibes subscription list and the acquisition campaign that leads to it."""

    list_id: str
    name: str
    acquisition_id: str
    keyword: str
    confirmation: bool  #: whether the person must answer Y first


STORE_NEWS = ListSpec("1201", "Store news", "NEWS1201", "NEWS", confirmation=True)
WEEKLY_OFFERS = ListSpec("1202", "Weekly offers", "OFFR1202", "OFFERS", confirmation=True)
RECEIPTS = ListSpec("1203", "Receipts", "RCPT1203", "RECEIPTS", confirmation=False)
LISTS = (STORE_NEWS, WEEKLY_OFFERS, RECEIPTS)
