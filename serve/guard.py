"""What a request must be to be looked at, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self';"
    " style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""What the page may load; that it may compile WebAssembly is for painting in the browser."""
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With both of these a page may compute with several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
SILENCE = 15.0
"""Seconds that a client may take between two pieces of what it sends."""
BODY_SECONDS = 300.0
"""And for all of it."""


class Guard:
    """Stands before an app: a request that it refuses does not get there.

    - The Host must be one that is answered to: a page of another site whose name was rebound to
      this address has its own.
    - A write that a browser says comes from another site, by Sec-Fetch-Site or Origin, is refused.
      Reads are not: without CORS no other site sees what they return.
    - What is under ``/v1`` and the metrics need the token, if there is one.
    - A body may be so long, and take so much time.

    Args:
        app: what it stands before.
        hosts: names that are answered to, without port; ``"*"`` for all.
        token: what clients must know; empty if there is none.
        origins: other sites whose pages may use this, as ``https://example.org``.
        most: bytes of a body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        token: str,
        origins: Collection[str],
        most: int,
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._token = token
        self._origins = set(origins)
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                # The page's own files are asked for again, by their ETag.
                fresh = "no-store" if _is_private(scope) else "no-cache"
                headers.setdefault("Cache-Control", fresh)
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, answer)
            return
        await self._app(scope, _Body(receive, self._most), answer)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Return what a request is refused with, if it is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._answers_to(host):
            return _problem(400, "this server does not answer to that host")
        origin = headers.get("origin")
        known = origin in self._origins
        if scope["method"] in _WRITES and not known and _is_foreign(headers, host, origin):
            return _problem(403, "pages of other sites may not use this server")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most:
            return _problem(413, f"at most {self._most} bytes are accepted")
        if self._token and _is_private(scope) and not self._knows_token(headers):
            refused = _problem(401, "a token is needed: Authorization: Bearer ...")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        return None

    def _answers_to(self, host: str) -> bool:
        name = host.lower()
        if not name.endswith("]"):  # an IPv6 address without a port
            name = name.rsplit(":", 1)[0]
        return "*" in self._hosts or name in self._hosts

    def _knows_token(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given, own = (hashlib.sha256(text.encode()).digest() for text in (token, self._token))
        return kind.lower() == "bearer" and secrets.compare_digest(given, own)


class _Body:
    """What a client sends, as long as it is not too long and does not take too long.

    Raises:
        HTTPException: where the app waits for more of it.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most
        self._until = time.monotonic() + BODY_SECONDS
        self._ended = False

    async def __call__(self) -> Message:
        if self._ended:  # the app waits for the client to leave
            return await self._receive()
        patience = min(SILENCE, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, patience))
        except TimeoutError:
            raise HTTPException(408, "the request takes too long", _CLOSE) from None
        self._ended = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, "the request is longer than what is accepted", _CLOSE)
        return message


_CLOSE = {"Connection": "close"}


def _is_foreign(headers: Headers, host: str, origin: str | None) -> bool:
    """Whether a browser says that a request comes from a page of another site."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    try:  # older browsers tell no more than this
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def _is_private(scope: Scope) -> bool:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith("/v1/") or path == "/metrics"


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
