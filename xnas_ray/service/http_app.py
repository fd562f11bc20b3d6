"""The HTTP API as an application: which function answers at which address, with what description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer

from xnas_ray.service.api_page import api_page
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_errors import handle_errors
from xnas_ray.service.http_forms import CODES, REPORT, TABLE, ErrorBody, Submission
from xnas_ray.service.http_guard import Guard
from xnas_ray.service.live_pages import add_pages
from xnas_ray.service.wire import API, GZIP


def make_app(api: Api) -> FastAPI:
    """The application."""
    errors: dict[int | str, dict[str, Any]] = {code: {"model": ErrorBody} for code in CODES}
    app = FastAPI(title="xnas-ray", version=api.version, docs_url=None, redoc_url=None, openapi_url=None)
    bearer = [Depends(HTTPBearer(auto_error=False, description="The text of the file `token` in the store."))]

    def route(verb: str, path: str, function: Callable[..., Any], status: int = 200, **more: Any) -> None:
        responses = {**errors, **more.pop("responses", {})}
        dependencies = [] if path == "/health" else bearer
        app.add_api_route(
            path, function, methods=[verb], status_code=status, responses=responses, dependencies=dependencies, **more
        )

    one = API + "/searches/{search}"
    route("GET", "/health", api.health)
    route("GET", API + "/service", api.info)
    route("POST", API + "/service/stop", api.stop, 204)
    route("POST", API + "/tasks", api.upload, openapi_extra=_takes({GZIP: {"type": "string", "format": "binary"}}))
    route("GET", API + "/tasks/{hash}", api.task)
    bodies = {"application/json": Submission.model_json_schema(), "application/toml": {"type": "string"}}
    route("POST", API + "/searches", api.submit, 201, openapi_extra=_takes(bodies))
    route("GET", API + "/searches", api.searches)
    route("GET", API + "/resolve", api.resolve)
    route("GET", API + "/live", api.live)
    route("GET", API + "/spool", api.spooled)
    route("GET", one, api.status)
    for name in ("wait", "watch", "summary", "card", "transitions", "best", "logs", "verify", "design"):
        route("GET", f"{one}/{name}", getattr(api, name))
    for name in ("pause", "resume", "cancel", "extend"):
        route("POST", f"{one}/{name}", getattr(api, name), 204)
    for name in ("trials", "curves"):
        route("GET", f"{one}/{name}", getattr(api, name), responses=TABLE, response_class=Response)
    route("GET", one + "/explanations", api.explain)
    route("GET", one + "/explanations/{kind}", api.explanations, responses=TABLE, response_class=Response)
    route("GET", one + "/trials/{trial}/export", api.export, responses=_bytes_of(GZIP), response_class=Response)
    route("GET", one + "/trials/{trial}/graphs", api.graphs)
    route("GET", one + "/trials/{trial}/failure", api.failure)
    route("POST", one + "/trials/{trial}/test", api.measure_test)
    route("GET", API + "/report", api.report, responses=REPORT, response_class=Response)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    add_pages(app)
    handle_errors(app)
    app.add_middleware(Guard, token=api.token)
    return app


def _bytes_of(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


def _takes(contents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": s} for kind, s in contents.items()}}}
