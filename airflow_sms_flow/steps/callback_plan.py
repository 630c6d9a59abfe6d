"""What is to be done so that Vibes calls us back: registrations as they stand, compared with what is needed.

A registration is ours if it leads to our address, whatever secret it ends in. Vibes sends to each of several
addresses, so ours is added beside other people's, and theirs goes only where somebody says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from airflow_sms_flow.core.registrations import Need, Registration


class Leads(StrEnum):
    """Where a registration leads."""

    HERE = "here"
    OUTDATED = "outdated"  #: to us, by another secret than the newest, or it leaves something out
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class CallbackAddress:
    """Our own address, as it is registered. It ends in the newest secret: never show it whole."""

    url: str = field(repr=False)

    def leads(self, url: str) -> Leads:
        """Whether that address is ours, by the newest secret or by another one."""
        ours, theirs = _comparable(self.url), _comparable(url)
        if theirs is None or ours is None or ours[0] != theirs[0]:
            return Leads.ELSEWHERE
        return Leads.HERE if ours[1] == theirs[1] else Leads.OUTDATED

    def where(self, one: Registration, today: date) -> Leads:
        """Where a registration leads; ours is outdated, too, where it leaves something out."""
        leads = self.leads(one.url)
        return Leads.OUTDATED if leads is Leads.HERE and not one.tells_all(today) else leads

    def shown(self, url: str) -> str:
        """An address without what may be secret: ours up to the secret, of others the host alone."""
        parts = _split(url)
        if parts is None:
            return "(an address that cannot be read)"
        ours = self.leads(url) is not Leads.ELSEWHERE
        path = parts.path.rpartition("/")[0] if ours else ""
        return f"{parts.scheme}://{_host(parts)}{path}/***"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and what is not.

    `superseded` may go at once: for each of them a good registration of ours stands. `waiting` goes as soon
    as what is `lacking` stands. `elsewhere` is left alone.
    """

    standing: tuple[Need, ...]
    lacking: tuple[Need, ...]
    superseded: tuple[Registration, ...]
    waiting: tuple[Registration, ...]
    elsewhere: tuple[Registration, ...]


def make_plan(
    needs: Iterable[Need],
    found: Iterable[Registration],
    address: CallbackAddress,
    *,
    today: date,
    replace: bool,
) -> Plan:
    """Compare. `replace`: what leads elsewhere makes room for ours.

    Of several good registrations of ours for one thing, the one with the lowest id is kept, whoever looks:
    two tasks that registered at once agree on it.
    """
    standing: list[Need] = []
    lacking: list[Need] = []
    superseded: list[Registration] = []
    waiting: list[Registration] = []
    elsewhere: list[Registration] = []
    everything = sorted(found, key=lambda one: (len(one.id), one.id))
    for need in needs:
        same = [one for one in everything if need.is_same_as(one)]
        theirs = [one for one in same if address.where(one, today) is Leads.ELSEWHERE]
        ours = [one for one in same if one not in theirs]
        covering = [one for one in everything if _covers(one, need, address, today)]
        kept = [one for one in ours if one in covering][:1]
        old = [one for one in ours if one not in kept] + (theirs if replace else [])
        (standing if covering else lacking).append(need)
        (superseded if covering else waiting).extend(old)
        elsewhere.extend([] if replace else theirs)
    return Plan(tuple(standing), tuple(lacking), tuple(superseded), tuple(waiting), tuple(elsewhere))


def _covers(one: Registration, need: Need, address: CallbackAddress, today: date) -> bool:
    return need.is_met_by(one) and address.where(one, today) is Leads.HERE


def _comparable(url: str) -> tuple[tuple[str, str, str], str] | None:
    """(scheme, host, path up to the secret) and the secret; None where that cannot be ours."""
    parts = _split(url)
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    path, _, secret = parts.path.rpartition("/")
    return ((parts.scheme, _host(parts), path), secret) if secret else None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no port
    except ValueError:
        return None
    return parts if parts.hostname else None


def _host(parts: SplitResult) -> str:
    """In lower case, with the port only where it is not the scheme's own."""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    name = parts.hostname or ""
    return f"[{name}]{port}" if ":" in name else f"{name}{port}"
