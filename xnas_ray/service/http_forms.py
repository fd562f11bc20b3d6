"""What requests to the HTTP API look like, checked before anything is done with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.wire import PARQUET

MAX_WAIT_S = 60.0
HASH = r"^[0-9a-f]{32}$"


class ErrorBody(BaseModel):
    """What went wrong, as ``XnasError`` says it."""

    error: str
    message: str
    field: str | None
    fix: str | None
    valid: list[str]
    got: str | None


class Submission(BaseModel):
    """A search to queue."""

    model_config = ConfigDict(extra="forbid")
    spec: dict[str, Any] = Field(description="The search, as docs/spec.md lists its settings.")
    task_hash: str | None = Field(
        None,
        pattern=HASH,
        description="Of an uploaded task; without it the task must be one that the service has in experiments/.",
    )
    idempotency_key: str | None = Field(
        None, min_length=1, max_length=200, description="Submitting it again gives the same search."
    )
    protocol: int = PROTOCOL_VERSION


class Pause(BaseModel):
    """How to pause."""

    model_config = ConfigDict(extra="forbid")
    at_once: bool = Field(False, description="Running trials checkpoint instead of finishing.")


class Budget(BaseModel):
    """New totals; None leaves one as it is."""

    model_config = ConfigDict(extra="forbid")
    trials: int | None = Field(None, gt=0, le=2**53)
    gpu_hours: float | None = Field(None, gt=0, le=1e15)
    wall_clock: float | None = Field(None, gt=0, le=1e15, description="Seconds.")


class DesignQuery(BaseModel):
    """What is asked for designs (see ``designs.Query``)."""

    model_config = ConfigDict(extra="forbid")
    flops: list[Annotated[float, Field(gt=0, le=1e18)]] = Field(
        [], max_length=20, description="Most FLOPs; each is a budget of its own."
    )
    params: float | None = Field(None, gt=0, le=1e18, description="Most parameters, in every budget.")
    top: int = Field(5, ge=1, le=1000, description="Designs a budget.")
    neighbours: int = Field(3, ge=0, le=100, description="Evaluated architectures beside each.")
    members: int = Field(5, ge=1, le=50, description="Networks of the predictor.")
    pool: int = Field(4_000, ge=5, le=100_000, description="Architectures that are counted to pretrain it.")
    caution: float = Field(0.0, ge=0, le=1e3, description="Standard deviations that are taken off predictions.")


class Stop(BaseModel):
    """How to stop the service."""

    model_config = ConfigDict(extra="forbid")
    checkpoint: bool = Field(True, description="Let running trials write checkpoints first.")


TaskHash = Annotated[str, Path(pattern=HASH, description="blake2b-16 of names and contents, hexadecimal.")]
SearchName = Annotated[
    str, Path(pattern=r"^[0-9A-Za-z]{4,26}$", description="An id, the first characters of one, or 'latest'.")
]
SearchNames = Annotated[
    list[Annotated[str, Field(pattern=r"^[0-9A-Za-z]{4,26}$")]],
    Query(alias="search", min_length=1, max_length=20, description="Ids, first characters of some, or 'latest'."),
]
TrialNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]
Kind = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
WaitSeconds = Annotated[float, Query(ge=0, le=MAX_WAIT_S)]
Format = Annotated[Literal["json", "parquet"], Query(alias="format")]
CODES = (400, 401, 404, 409, 413, 422, 500, 503, 507)
REPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}},
    304: {"description": "Nothing has changed since the answer with the tag in `If-None-Match`."},
}
TABLE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"type": "array"}}, PARQUET: {"schema": {"type": "string"}}}}
}
