"""What every HTTP request meets first: its token, its protocol and its size, before anything of its body is read."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xnas_ray.errors import ProtocolError, XnasError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.live_pages import OPEN_PAGES
from xnas_ray.service.wire import API, PROTOCOL_HEADER, TokenError, TooLargeError, error_json, status_code
from xnas_ray.tasks.archives import MAX_ARCHIVE_BYTES

MAX_BODY_BYTES = 2**20
OPEN = frozenset({"/health"})
READING = ("GET", "HEAD")


def error_response(
    error: XnasError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error as the answer to a request; never a traceback."""
    more = {"WWW-Authenticate": "Bearer"} if isinstance(error, TokenError) else {}
    return JSONResponse(error_json(error), status or status_code(error), {**(headers or {}), **more})


class Guard:
    """ASGI middleware.

    Args:
        app: what stands behind it.
        token: that requests must bring, as ``Authorization: Bearer TOKEN``.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Keep the token as bytes: their comparison takes the same time wherever they differ."""
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await error_response(refusal)(scope, receive, send)
        else:
            await self._app(scope, _limited(receive, _limit(scope)), send)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> XnasError | None:
        if scope["path"] not in OPEN and not (scope["path"] in OPEN_PAGES and scope["method"] in READING):
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                what = "the token is wrong." if given else "the token is missing."
                fix = "It is in the file `token` of the store: Authorization: Bearer TOKEN, or XNAS_TOKEN for clients."
                return TokenError(what, field="token", fix=fix)
        theirs = headers.get(PROTOCOL_HEADER.lower().encode())
        if theirs is not None and theirs != str(PROTOCOL_VERSION).encode():
            return ProtocolError(
                f"the service speaks protocol {PROTOCOL_VERSION}, the client {theirs.decode('latin-1')[:20]}.",
                fix="Install the same version of xnas-ray on both sides.",
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > _limit(scope):
            return TooLargeError(f"a request here has at most {_limit(scope)} bytes.", field="body")
        return None


def _limit(scope: Scope) -> int:
    return MAX_ARCHIVE_BYTES if scope["path"] == API + "/tasks" else MAX_BODY_BYTES


def _limited(receive: Receive, limit: int) -> Receive:
    """Receive no more than so many bytes, whatever the request says of its length."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message: Any = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"a request here has at most {limit} bytes")
        return message

    return limited
