"""What crosses HTTP: errors and values as JSON and back, tables as Parquet, and the proof of who answers."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xnas_ray import errors
from xnas_ray.errors import ServiceError, XnasError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

API = "/v1"
PROTOCOL_HEADER = "X-Xnas-Protocol"
PARQUET = "application/vnd.apache.parquet"
GZIP = "application/gzip"
_STATUS: tuple[tuple[type[XnasError], int], ...] = (
    (errors.SearchNotFoundError, 404),
    (errors.ExplanationError, 404),
    (errors.TransitionError, 409),
    (errors.StoreLockedError, 409),
    (errors.StoreFullError, 507),
    (errors.ProtocolError, 400),
    (errors.ServiceError, 503),
)


class TokenError(ServiceError):
    """The token is missing or wrong."""


class NotFoundError(ServiceError):
    """There is nothing at this address of the API."""


class TooLargeError(ServiceError):
    """A request is larger than the service takes."""


# ---- errors ----------------------------------------------------------------------------------------------------------


def status_code(error: XnasError) -> int:
    """The HTTP status of an error: 4xx where the request is at fault."""
    own: dict[type[XnasError], int] = {TokenError: 401, NotFoundError: 404, TooLargeError: 413}
    if type(error) in own:
        return own[type(error)]
    if type(error) is errors.StoreError:  # with a field somebody asked for what is not there, else a part is damaged
        return 422 if error.field else 500
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 422)


def error_json(error: XnasError) -> dict[str, Any]:
    """An error as JSON: ``error`` (its class), ``message``, ``field``, ``fix``, ``valid``, ``got``."""
    known = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    return {
        "error": known.__name__,
        "message": error.message,
        "field": error.field,
        "fix": error.fix,
        "valid": list(error.valid),
        "got": error.got,
    }


def error_from_json(found: Any) -> XnasError:
    """The error that ``error_json`` wrote; a ``ServiceError`` for what is none of ours."""
    if not isinstance(found, Mapping) or not isinstance(found.get("message"), str):
        return ServiceError("the service gave an answer that is not its own.", fix="Is this the address of a service?")
    kind = getattr(errors, str(found.get("error")), ServiceError)
    if not (isinstance(kind, type) and issubclass(kind, XnasError)):
        kind = ServiceError
    return kind(
        found["message"],
        field=found.get("field"),
        fix=found.get("fix"),
        valid=found.get("valid") or None,
        got=found.get("got"),
    )


# ---- values ----------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value as strict JSON: times as ISO text, tuples as lists, numbers of numpy as Python's, no NaN or infinity."""
    if value is None or isinstance(value, (bool, int, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime.datetime):
        return None if value != value else value.isoformat()  # NaT is a datetime that differs from itself
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [plain(inner) for inner in value]
    if hasattr(value, "item"):
        return plain(value.item())
    return None if value != value or str(value) == "<NA>" else str(value)


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    import pyarrow.parquet as pq

    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd")
    return written.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The opposite of ``to_parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise ServiceError(f"the service gave a table that cannot be read: {error}.") from None


def frame_to_parquet(frame: pd.DataFrame) -> bytes:
    """A frame, its types included, as the bytes of a Parquet file; tuples become lists."""
    import pyarrow as pa

    return to_parquet(pa.Table.from_pandas(frame))


def frame_from_parquet(data: bytes) -> pd.DataFrame:
    """The opposite of ``frame_to_parquet``."""
    return from_parquet(data).to_pandas()


# ---- who answers -----------------------------------------------------------------------------------------------------


def proof(token: str, nonce: str) -> str:
    """What only a service that knows the token can answer to ``nonce``: HMAC-SHA256, hexadecimal.

    A client asks for it before it sends its token: a port of an ended service may be anybody's.
    """
    return hmac.new(token.encode(), b"xnas health " + nonce.encode(), hashlib.sha256).hexdigest()
