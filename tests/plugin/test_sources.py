"""Where callbacks may come from, and whose word about that counts."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from airflow_sms_flow.plugin.sources import Sources
from airflow_sms_flow.settings import VIBES_ADDRESSES

VIBES = tuple(ip_network(address) for address in VIBES_ADDRESSES)
PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))
ONE_OF_THEIRS = VIBES_ADDRESSES[0]


def admitted(peer: str | None, *forwarded: str, sources: Sources | None = None) -> bool:
    sources = sources or Sources(VIBES, PROXIES)
    return sources.admits(sources.caller(peer, forwarded))


def test_any_caller_passes_where_no_list_is_set() -> None:
    """The secret alone decides by default, also for a caller whose address nobody knows."""
    anywhere = Sources(None, ())
    assert admitted("198.51.100.9", sources=anywhere)
    assert admitted(None, sources=anywhere)
    assert admitted("testclient", sources=anywhere)


def test_the_peer_decides_where_no_proxy_is_trusted() -> None:
    """A header that anybody can write opens nothing."""
    nobody_trusted = Sources(VIBES, ())
    assert admitted(ONE_OF_THEIRS, sources=nobody_trusted)
    assert not admitted("198.51.100.9", ONE_OF_THEIRS, sources=nobody_trusted)
    assert not admitted("10.1.2.3", ONE_OF_THEIRS, sources=nobody_trusted)


def test_a_trusted_proxy_is_believed_about_its_own_caller() -> None:
    """Also through several proxies, over several headers, and with a port behind the address."""
    assert admitted("10.1.2.3", ONE_OF_THEIRS)
    assert admitted("10.1.2.3", f"{ONE_OF_THEIRS}, 10.9.9.9")
    assert admitted("10.1.2.3", ONE_OF_THEIRS, "10.9.9.9")
    assert admitted("10.1.2.3", f"{ONE_OF_THEIRS}:51234")
    assert admitted("2001:db8:1::5", f"{ONE_OF_THEIRS}, [2001:db8:1::7]:443")


def test_what_stands_left_of_an_untrusted_address_is_made_up() -> None:
    """The caller wrote it; only the part that trusted proxies appended is believed."""
    assert not admitted("10.1.2.3", f"{ONE_OF_THEIRS}, 198.51.100.9")
    assert not admitted("10.1.2.3", ONE_OF_THEIRS, "198.51.100.9, 10.9.9.9")
    assert admitted("10.1.2.3", f"198.51.100.9, {ONE_OF_THEIRS}")


@pytest.mark.parametrize("nonsense", ["", "unknown", "_hidden", "1.2.3", "35.155.139.143.5", "a:b", "[::1"])
def test_a_trusted_proxy_that_names_nobody_admits_nobody(nonsense: str) -> None:
    """What cannot be read is no address of the vendor's."""
    assert not admitted("10.1.2.3", nonsense)


def test_an_unknown_peer_is_not_on_the_list() -> None:
    """A server on a Unix socket knows no peer."""
    assert not admitted(None)


def test_an_ipv4_caller_of_an_ipv6_server_is_recognised() -> None:
    """Such a server sees ::ffff:35.155.139.143."""
    assert admitted(f"::ffff:{ONE_OF_THEIRS}")
    assert admitted("::ffff:10.1.2.3", ONE_OF_THEIRS)
