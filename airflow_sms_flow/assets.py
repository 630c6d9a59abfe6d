"""Assets that change when people join a list, leave it, bounce, or write back: triggers for DAGs.

    from airflow_sms_flow.assets import subscribed

    with DAG("sms_welcome", schedule=[subscribed("acme", "1201")]): ...

Marketo's triggers "Subscribes to Vibes List" and "SMS Message Bounces". The asset is the bell and no more:
Airflow may fold a burst of rings into one run, or ring late. `NewSubscribersOperator` and its like take
everybody who is new out of the ledger, each once; put a timer beside the asset (`AssetOrTimeSchedule`).

The bell is rung by the triggerer, which looks at the ledger: callbacks, extracts and the opt-in sensor all
write there.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult

from airflow.sdk import Asset, AssetWatcher

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.values import read_id

#: What may stand in an address without being escaped; company keys and ids are made of these.
_PART = re.compile(r"[A-Za-z0-9._~-]+")
_REMEDY = "letters, digits, and . _ ~ - only, as Vibes shows it"


def subscribed(company_key: str, list_id: str | int, *, poll_seconds: float = 5.0) -> Asset:
    """`vibes://<company>/list/<id>/subscribed`: somebody joined the list."""
    return _asset(company_key, ChangeKind.SUBSCRIBED, "list_id", list_id, poll_seconds)


def unsubscribed(company_key: str, list_id: str | int, *, poll_seconds: float = 5.0) -> Asset:
    """`vibes://<company>/list/<id>/unsubscribed`: somebody left it, for whatever reason."""
    return _asset(company_key, ChangeKind.UNSUBSCRIBED, "list_id", list_id, poll_seconds)


def bounced(company_key: str, list_id: str | int, *, poll_seconds: float = 5.0) -> Asset:
    """`vibes://<company>/list/<id>/bounced`: a text of ours to this list did not arrive."""
    return _asset(company_key, ChangeKind.BOUNCED, "list_id", list_id, poll_seconds)


def replied(company_key: str, source_code: str | int, *, poll_seconds: float = 5.0) -> Asset:
    """`vibes://<company>/code/<code>/replied`: somebody wrote what Vibes had no use for."""
    return _asset(company_key, ChangeKind.REPLIED, "source_code", source_code, poll_seconds)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """What Airflow calls for each asset of the scheme `vibes`. Raises ValueError for any other shape."""
    parts = uri.path.strip("/").split("/")
    kinds = {(kind.scope, kind.value) for kind in ChangeKind}
    if not uri.netloc or len(parts) != 3 or (parts[0], parts[2]) not in kinds:
        raise ValueError(
            "an asset of Vibes is vibes://<company>/list/<id>/subscribed, …/unsubscribed, …/bounced, "
            "or vibes://<company>/code/<code>/replied"
        )
    return uri._replace(path="/" + "/".join(parts), query="", fragment="")


def _asset(company_key: str, kind: ChangeKind, field: str, scope_id: str | int, poll_seconds: float) -> Asset:
    from airflow_sms_flow.triggers.changes import VibesChangeTrigger

    company, which = _part("company_key", company_key), _part(field, scope_id)
    if not 1 <= poll_seconds <= 3_600:
        raise InvalidInput("poll_seconds", poll_seconds, "between 1 and 3600")
    uri = f"vibes://{company}/{kind.scope}/{which}/{kind.value}"
    trigger = VibesChangeTrigger(
        company_key=company, kind=kind.value, scope_id=which, poll_seconds=float(poll_seconds)
    )
    return Asset(name=uri, uri=uri, watchers=[AssetWatcher(name=f"watch {uri}", trigger=trigger)])


def _part(field: str, value: object) -> str:
    text = read_id(field, value, _REMEDY)
    if not _PART.fullmatch(text):
        raise InvalidInput(field, text, _REMEDY)
    return text
