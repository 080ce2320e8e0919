"""Decides which requests are answered: read-only ones, to a known host name, with the token.

A page of another site can make a browser send requests here. It cannot read the answers of another
origin, unless its own name is made to lead here (DNS rebinding): the browser then sends that name
as the host, which is refused.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Pages of our own: nothing but what this server has, and no script but its own.
OWN_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": OWN_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Access(NamedTuple):
    """Who may see the pages.

    Attributes:
        hosts: names by which browsers reach the server; of an address, with brackets for IPv6.
        any_address: whether every IP address is taken too, as no name leads to another one.
        token: what a visitor must know; empty if nothing.
        cookie: the name of the cookie that stands for the token; cookies of all ports are shared.
    """

    hosts: Collection[str]
    any_address: bool
    token: str
    cookie: str = "sweeps"


def access_of(host: str, port: int, token: str, names: Collection[str] = ()) -> Access:
    """Who may see what is served at this address.

    Args:
        host: the address that is listened on.
        names: further names by which browsers reach it.
    """
    own = f"[{host}]" if ":" in host else host
    hosts = {name.lower() for name in (*_LOOPBACK, own, *names)}
    return Access(hosts, not is_loopback(host), token, f"sweeps_{port}")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_known_host(given: str, access: Access) -> bool:
    """Whether the Host header names this server."""
    match = _HOST.fullmatch(given)
    if match is None:
        return False
    name = match[1].lower()
    return name in access.hosts or (access.any_address and _is_address(name.strip("[]")))


class Guard:
    """ASGI middleware: refuses what is not for this server, and adds headers that keep it safe."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that does not reach the pages; None if it does."""
        request = Request(scope)
        if scope["method"] not in _METHODS:
            return _text("only reading is possible here", 405, {"allow": ", ".join(_METHODS)})
        if not is_known_host(request.headers.get("host", ""), self._access):
            return _text(
                "this server is not called so; open it by its address, or start it with "
                "--allow-host NAME",
                421,
            )
        if not self._access.token or self._knows(request.headers):
            return None
        given = request.query_params.get("token")
        if given is None or not _same(given, self._access.token):
            return _text("open the address that `serve` printed, which has a token in it", 403)
        # The token leaves the address bar, and with it the history and what is copied from there.
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + quote(scope["path"].lstrip("/\\"))
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        # Lax: a report is shown in a sandbox, and what is opened from there comes from elsewhere.
        answer.set_cookie(
            self._access.cookie, _proof(self._access.token), httponly=True, samesite="lax"
        )
        return answer

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given, self._access.token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, _proof(self._access.token))


def _proof(token: str) -> str:
    """What a cookie holds in place of the token, from which the token does not follow."""
    return hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    """Whether two texts are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _text(what: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(f"{what}\n", status, headers, "text/plain; charset=utf-8")
