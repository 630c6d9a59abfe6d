"""The wire: what is taken from the environment, and what never is."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_sms_flow.clients.marketo import MarketoClient
from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import AnswerClass
from tests.clients.scripted_server import ScriptedServer, answer
from tests.clients.test_marketo import good, token

MDN = "+12025550132"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the proxies of the environment."""

    def through(address: str) -> None:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

    return through


def test_netrc_never_takes_the_place_of_our_credentials(
    make_vibes: Callable[..., VibesClient],
    make_marketo: Callable[..., MarketoClient],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The library would put netrc's login over a Bearer token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(token("token-1"), good(), answer(200, [])) as server:
        make_marketo(server.url).describe_leads()
        make_vibes(server.url).list_subscription_lists()
        fetched, described, listed = server.requests
    assert "authorization" not in fetched.headers
    assert described.headers["authorization"] == "Bearer token-1"
    assert listed.headers["authorization"] == "Basic YXBpLXVzZXI6c3cwcmRmaXNoLXNlY3JldA=="


def test_a_proxy_of_the_environment_is_used(
    make_vibes: Callable[..., VibesClient], proxied: Callable[[str], None]
) -> None:
    """A forwarding proxy gets the whole address, with the real target in it."""
    with ScriptedServer(answer(404)) as proxy:
        proxied(proxy.url)
        got = make_vibes("http://vibes.example").find_subscriber("12", mdn=MDN)
        assert got.reason == "not_subscribed"
        assert proxy.requests[0].target == (
            "http://vibes.example/companies/ACME/mobiledb/subscription_lists/12/subscribers?mdn=%2B12025550132"
        )
        assert "x-sms-flow-target" not in proxy.requests[0].headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_means_that_nothing_left(
    make_vibes: Callable[..., VibesClient], proxied: Callable[[str], None], scheme: str
) -> None:
    """No event reached anybody."""
    proxied("http://127.0.0.1:1")
    got = make_vibes(f"{scheme}://vibes.example").send_event("offer", "event-1", MDN, {})
    assert (got.kind, got.reason) == (AnswerClass.RETRY, "unreachable")


def test_a_proxy_that_refuses_the_tunnel_means_that_nothing_left(
    make_vibes: Callable[..., VibesClient], proxied: Callable[[str], None]
) -> None:
    """The CONNECT failed, so the event was never written; and it names no person."""
    with ScriptedServer(forever=answer(403)) as proxy:
        proxied(proxy.url)
        got = make_vibes("https://vibes.example").send_event("offer", "event-1", MDN, {})
        assert (got.kind, got.reason) == (AnswerClass.RETRY, "unreachable")
        assert [request.method for request in proxy.requests] == ["CONNECT"]


def test_cookies_are_not_kept(make_vibes: Callable[..., VibesClient]) -> None:
    """Calls do not depend on each other."""
    with ScriptedServer(answer(404, headers={"Set-Cookie": "a=b; Path=/"}), answer(404)) as server:
        client = make_vibes(server.url)
        client.find_person(mdn=MDN)
        client.find_person(mdn=MDN)
        assert "cookie" not in server.requests[1].headers


def test_credentials_may_hold_any_letter(make_vibes: Callable[..., VibesClient]) -> None:
    """Basic in UTF-8, for Latin-1 cannot say every password."""
    with ScriptedServer(answer(404)) as server:
        make_vibes(server.url, password="pässwörd→").find_person(mdn=MDN)
        assert server.requests[0].headers["authorization"] == "Basic YXBpLXVzZXI6cMOkc3N3w7ZyZOKGkg=="


def test_a_certificate_nobody_vouches_for_is_a_setting(
    make_vibes: Callable[..., VibesClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No repeat mends it, and no event left; with the bundle of the environment it is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))
    with ScriptedServer(forever=answer(202), tls=context) as server:
        got = make_vibes(server.url).send_event("offer", "event-1", MDN, {})
        assert (got.kind, got.reason) == (AnswerClass.CONFIG, "certificate")
        assert server.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "server.pem"))
        assert make_vibes(server.url).send_event("offer", "event-1", MDN, {}).kind is AnswerClass.OK
        assert server.requests[0].target == "/companies/ACME/events"


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
