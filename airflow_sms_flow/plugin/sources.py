"""Who is calling, and whether callbacks are taken from there.

What a header says counts only as far as it was written by a proxy that we trust: X-Forwarded-For is read
from the right, through trusted proxies, up to the first address that is none. Whatever stands further left
may have been made up by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from airflow_sms_flow.settings import VIBES_ADDRESSES, Network

Address: TypeAlias = IPv4Address | IPv6Address

_VIBES: tuple[Network, ...] = tuple(ip_network(one) for one in VIBES_ADDRESSES)


@dataclass(frozen=True, slots=True)
class Sources:
    """The networks that may call (None: any), and the proxies before us."""

    allowed: tuple[Network, ...] | None
    proxies: tuple[Network, ...]

    def caller(self, peer: str | None, forwarded_for: Iterable[str]) -> Address | None:
        """Who calls: `peer` opened the connection, `forwarded_for` are the values of X-Forwarded-For in
        their order. None where a trusted proxy names nobody that can be read."""
        address = _address(peer or "")
        claimed = [one for value in forwarded_for for one in value.split(",")]
        while address is not None and claimed and _is_in(address, self.proxies):
            address = _address(claimed.pop())
        return address

    def admits(self, caller: Address | None) -> bool:
        """Whether callbacks are taken from there; an unknown caller passes only where any does."""
        if self.allowed is None:
            return True
        return caller is not None and _is_in(caller, self.allowed)

    def expects(self, caller: Address | None) -> bool:
        """Whether Vibes is likely to be calling: from where a setting says, else where the vendor says."""
        return caller is not None and _is_in(caller, _VIBES if self.allowed is None else self.allowed)


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """`203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A server that listens on IPv6 sees callers on IPv4 as ::ffff:203.0.113.7.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
