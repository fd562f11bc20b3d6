"""How errors leave the HTTP API: always as JSON, with the fix, and never as a traceback."""

from __future__ import annotations

import logging
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from xnas_ray.errors import ServiceError, SpecError, XnasError
from xnas_ray.service.http_guard import error_response
from xnas_ray.service.wire import NotFoundError, TooLargeError

log = logging.getLogger(__name__)


def handle_errors(app: FastAPI) -> None:
    """Every error leaves as an ``ErrorBody``; what is not ours gets a number that stands in the head's log."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, XnasError)
        return error_response(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, (RequestValidationError, ValidationError))
        return error_response(_first_of(error))

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {413: TooLargeError, 404: NotFoundError}.get(error.status_code, ServiceError)
        found = kind(f"{request.method} {request.url.path}: {error.detail}.", fix="The verbs are listed at /docs.")
        return error_response(found, error.status_code, error.headers)

    async def unexpected(request: Request, error: Exception) -> Response:
        number = secrets.token_hex(4)
        log.error("error %s at %s %s", number, request.method, request.url.path, exc_info=error)
        message = f"an unexpected error, number {number}."
        return error_response(ServiceError(message, fix="The service's log has the reason beside that number."), 500)

    app.add_exception_handler(XnasError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ValidationError, invalid)
    app.add_exception_handler(HTTPException, routing)
    app.add_exception_handler(Exception, unexpected)


def _first_of(error: RequestValidationError | ValidationError) -> SpecError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    return SpecError(f"{first['msg']}.", field=".".join(place) or "body", fix="What is valid is listed at /docs.")
