"""The wire under both clients: one session, one attempt per call, and nothing that leaks.

requests and urllib3 write request targets into DEBUG lines, warnings and exception texts. So they are only
told the *template* of a path (`/companies/:company_key/events`); the connection puts the real target on
the wire at the last moment. What they raise is turned into values here and is never chained to anything.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HeaderParsingError, HTTPError, NewConnectionError
from urllib3.util.response import assert_header_parsing
from urllib3.util.ssl_match_hostname import CertificateError

from airflow_sms_flow import __version__
from airflow_sms_flow.clients._wire import Call, NoReply, Outcome, Reply, Timeout

#: Everything that may go wrong between us and a vendor, while asking or while reading.
FAULTS = (requests.RequestException, HTTPError, OSError)

#: Carries the real target from `Transport` to the connection, which takes it off before anything is sent.
_TARGET = "X-Sms-Flow-Target"


class _CertificateRefused(NewConnectionError):
    """The server's certificate does not fit: no byte of the request has left."""


class _QuietResponse(HTTPResponse):
    """Refuses headers that cannot be parsed: urllib3 would log them, and the body's words among them."""

    def begin(self) -> None:
        super().begin()
        try:
            assert_header_parsing(self.msg)
        except HeaderParsingError:
            raise HTTPException("headers that cannot be read") from None


class _QuietConnection(HTTPConnection):
    """Sends the real target while urllib3 knows the template only."""

    response_class = _QuietResponse
    debuglevel = 0  # shields from HTTPConnection.debuglevel, which prints requests to stdout
    _target = ""

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        kept = dict(headers or {})
        self._target = kept.pop(_TARGET, url)
        super().request(method, url, body, kept, **options)

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        target, self._target = self._target or url, ""
        if not url.startswith("/"):  # to a forwarding proxy the target is the whole address
            parts = urlsplit(url)
            target = f"{parts.scheme}://{parts.netloc}{target}"
        super().putrequest(method, target, *args, **options)


class _QuietTlsConnection(_QuietConnection, HTTPSConnection):
    """The same over TLS; a failed handshake counts as "could not connect", for nothing has left yet."""

    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLCertVerificationError, CertificateError):
            raise _CertificateRefused(self, "certificate refused") from None
        except OSError as fault:
            raise NewConnectionError(self, f"TLS handshake: {type(fault).__name__}") from None


class _QuietPool(HTTPConnectionPool):
    ConnectionCls = _QuietConnection


class _QuietTlsPool(HTTPSConnectionPool):
    ConnectionCls = _QuietTlsConnection


class _QuietAdapter(HTTPAdapter):
    """requests' adapter over the quiet connections. `max_retries=0`: nothing is ever sent twice from here."""

    def __init__(self, pool_maxsize: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_maxsize, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _QUIET_POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _QUIET_POOLS
        return manager


_QUIET_POOLS = {"http": _QuietPool, "https": _QuietTlsPool}


class Transport:
    """One `requests.Session` to one host. Threads may share it.

    Proxies and the CA bundle come from the environment, read once; netrc and cookies are never used,
    redirects never followed (a redirected POST would be sent twice, or sent as a GET).
    """

    def __init__(
        self, base_url: str, *, timeout: Timeout, pool_maxsize: int, auth: tuple[str, str] | None = None
    ) -> None:
        self.base_url, self.timeout = base_url, timeout
        session = requests.Session()
        session.auth = HTTPBasicAuth(auth[0].encode(), auth[1].encode()) if auth else None
        session.headers["User-Agent"] = f"airflow-sms-flow/{__version__}"
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        environment = session.merge_environment_settings(base_url, {}, None, None, None)
        session.proxies, session.verify = environment["proxies"], environment["verify"]
        session.trust_env = False
        adapter = _QuietAdapter(pool_maxsize)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        self._session = session

    def close(self) -> None:
        """Close the pooled connections; a later call opens new ones."""
        self._session.close()

    def exchange(self, call: Call, headers: Mapping[str, str] | None = None) -> Outcome:
        """Ask once and read the whole answer. Never raises for what the network or the vendor does."""
        response = self.open(call, headers)
        if isinstance(response, NoReply):
            return response
        with response:
            try:
                body, complete = response.content, True
            except FAULTS:
                body, complete = b"", False
        return Reply(response.status_code, response.headers, body, complete)

    def open(
        self, call: Call, headers: Mapping[str, str] | None = None, *, accept_encoding: str | None = None
    ) -> requests.Response | NoReply:
        """Ask once and leave the body unread on the wire: the caller closes the response."""
        extra: dict[str, str | bytes] = {**(headers or {}), _TARGET: self._prefix() + call.target()}
        if accept_encoding is not None:
            extra["Accept-Encoding"] = accept_encoding
        try:
            return self._session.request(
                call.method,
                self.base_url + call.shown_path,
                data=None if call.body is None else json.dumps(call.body),
                headers=extra,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            )
        except FAULTS as fault:
            return _no_reply(fault)

    def _prefix(self) -> str:
        return urlsplit(self.base_url).path


def _no_reply(fault: Exception) -> NoReply:
    """Whether bytes may have left. Only what fails before the request is written says for certain no."""
    reason = getattr(fault.args[0], "reason", None) if fault.args else None
    if isinstance(reason, _CertificateRefused):
        return NoReply(sent=False, fault="its TLS certificate was refused", certificate=True)
    if isinstance(reason, ConnectTimeoutError):  # the parent of all "could not connect" errors
        return NoReply(sent=False, fault="could not connect")
    if isinstance(fault, requests.exceptions.ProxyError):
        return NoReply(sent=False, fault="the proxy could not be reached")
    if isinstance(fault, ValueError):  # requests refused the address or a header
        return NoReply(sent=False, fault="the request could not be made")
    if isinstance(fault, requests.Timeout):
        return NoReply(sent=True, fault="no answer in time")
    return NoReply(sent=True, fault="the connection broke before an answer")
