"""An HTTP connection to a service: the token, the proof that it is the right service, and its being started again."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import ProtocolError, ServiceError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.connection import CALL_TIMEOUT_S, RESTART_S
from xnas_ray.service.wire import API, PROTOCOL_HEADER, error_from_json, proof

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE = "XNAS_TOKEN"
CONNECT_TIMEOUT_S = 5.0
HEALTH_TIMEOUT_S = 15.0
GRACE_S = 15.0
"""How much longer than a call may take its answer is waited for."""
RETRY_S = 0.5
SCHEMES = ("http://", "https://")


def is_http(address: str) -> bool:
    """Whether an address is one of an HTTP API, rather than of a Ray cluster."""
    return address.startswith(SCHEMES)


def find_token(root: Path, given: str | None = None) -> str:
    """The secret of a service's HTTP API: the argument, else ``XNAS_TOKEN``, else the store's own, if it is here.

    Raises:
        ServiceError: there is none; says where it is.
    """
    from xnas_ray.service.bring_up import TOKEN
    from xnas_ray.service.trusted import read_trusted

    token = (given or os.environ.get(TOKEN_VARIABLE, "")).strip()
    if not token:
        try:
            token = read_trusted(root / TOKEN).strip()
        except (OSError, UnicodeDecodeError):
            raise ServiceError(
                "no token for the HTTP API of the service.",
                field="token",
                fix=f"It is the text of the file `token` in the service's store; give it as {TOKEN_VARIABLE}, or name "
                "the store with --root where you can see it.",
            ) from None
    if not (token.isascii() and token.isprintable()):
        raise ServiceError("the token has characters that no token has.", field="token")
    return token


class HttpConnection:
    """Requests to one service, which may be started again meanwhile, also at another address.

    Args:
        locate: gives the address, such as ``"http://localhost:8123"``; asked again when nobody answers there any more.
        token: see ``find_token``.
    """

    def __init__(self, locate: Callable[[], str], token: str) -> None:
        """Ask nothing yet."""
        self._locate = locate
        self._token = token
        self._http: httpx.Client | None = None
        self._known = False

    @property
    def address(self) -> str:
        """Where the service is."""
        return self._locate()

    def ask(
        self,
        verb: str,
        path: str,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        again: bool | None = None,
        missing: bool = False,
        **request: Any,
    ) -> httpx.Response:
        """The answer to a request.

        Args:
            verb: GET or POST.
            path: below ``/v1``.
            timeout_s: how long the service may take.
            again: whether to ask again while the service is being started again; by default GETs are.
            missing: give 404 back instead of raising it.
            **request: ``params``, ``json``, ``content``, ``headers`` of the request.

        Raises:
            ServiceError: nobody answers, or who answers is not this service.
            XnasError: what the service raised.
        """
        import httpx

        again = verb == "GET" if again is None else again
        deadline_s = time.monotonic() + RESTART_S
        while True:
            try:
                http = self._connected()
                timeout = httpx.Timeout(timeout_s + GRACE_S, connect=CONNECT_TIMEOUT_S)
                response = http.request(verb, API + path, timeout=timeout, **request)
                break
            except httpx.TimeoutException as error:
                if not isinstance(error, httpx.ConnectTimeout):
                    raise ServiceError(f"the service did not answer {path} within {timeout_s:.0f} s.") from None
                self._lost(error, again, deadline_s)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                self._lost(error, again, deadline_s)
        if response.is_success or (missing and response.status_code == 404):
            return response
        raise error_from_json(_json(response))

    def _lost(self, error: Exception, again: bool, deadline_s: float) -> None:
        """Nobody answered: wait a moment if the service was there before and the question may be asked twice."""
        self.close()
        if not (again and self._known and time.monotonic() < deadline_s):
            raise ServiceError(
                f"no service answers at {self._locate()}: {error}.",
                field="address",
                fix="Is it running? From elsewhere an ssh tunnel leads to it, see docs/remote.md.",
            ) from None
        time.sleep(RETRY_S)

    def _connected(self) -> httpx.Client:
        """A connection to who has proved to know the token, before the token itself is sent."""
        import httpx

        if self._http is not None:
            return self._http
        nonce = secrets.token_hex(16)
        # Proxies of the environment are for the world outside, not for tunnels and nodes of a cluster.
        http = httpx.Client(base_url=self._locate(), trust_env=False, follow_redirects=False)
        try:
            timeout = httpx.Timeout(HEALTH_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
            answer = _json(http.get("/health", params={"nonce": nonce}, timeout=timeout))
            _check_health(answer, self._locate(), proof(self._token, nonce))
        except BaseException:
            http.close()
            raise
        http.headers.update({"Authorization": f"Bearer {self._token}", PROTOCOL_HEADER: str(PROTOCOL_VERSION)})
        self._http, self._known = http, True
        return http

    def close(self) -> None:
        """Forget the connection; the next request makes a new one."""
        if self._http is not None:
            self._http.close()
            self._http = None


def _check_health(answer: Any, address: str, expected: str) -> None:
    found = answer if isinstance(answer, Mapping) else {}
    if "protocol" not in found:
        raise ServiceError(f"what answers at {address} is no xnas service.", field="address", fix="Look at the port.")
    if found["protocol"] != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the service speaks protocol {found['protocol']}, this client {PROTOCOL_VERSION}.",
            fix="Install the same version of xnas-ray on both sides.",
        )
    if not secrets.compare_digest(str(found.get("proof")), expected):
        raise ServiceError(
            f"the service at {address} does not know this token.",
            field="token",
            fix=f"It is the text of the file `token` in that service's store; give it as {TOKEN_VARIABLE}.",
        )


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None
