"""Every error that a user can meet: one base class, a message that says what to do, and the valid values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_SHOWN = 40


class XnasError(Exception):
    """Base of all errors of this package.

    Args:
        message: what is wrong, in one sentence.
        field: the dotted name of the setting or input at fault, such as ``"budget.trials"``.
        fix: what the user can do about it.
        valid: the valid values; the nearest spelling of ``got`` is suggested.
        got: the value that was given.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        valid: Iterable[object] | None = None,
        got: object = None,
    ) -> None:
        """Compose the text that ``str(error)`` shows."""
        self.message = message
        self.field = field
        self.fix = fix
        self.valid = tuple(str(v) for v in valid) if valid is not None else ()
        self.got = None if got is None else str(got)
        text = message if message.endswith((".", "!", "?")) else f"{message}."
        parts = [f"{field}: {text}" if field else text]
        near = difflib.get_close_matches(self.got, self.valid, n=1) if self.got is not None else []
        if near:
            parts.append(f"Did you mean {near[0]!r}?")
        if self.valid:
            more = f" … ({len(self.valid)} in all)" if len(self.valid) > MAX_SHOWN else ""
            parts.append("Valid: " + ", ".join(self.valid[:MAX_SHOWN]) + more + ".")
        if fix:
            parts.append(fix)
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the keyword arguments, so that errors cross process borders whole."""
        return _rebuild, (type(self), self.message, self.field, self.fix, self.valid or None, self.got)


def _rebuild(
    kind: type[XnasError], message: str, field: str | None, fix: str | None, valid: tuple[str, ...] | None, got: object
) -> XnasError:
    return kind(message, field=field, fix=fix, valid=valid, got=got)


class SpecError(XnasError):
    """A search specification is malformed: an unknown key, a wrong type or a value out of range."""


class UnknownNameError(XnasError):
    """A space, controller, objective, task or recipe value of that name is not registered."""


class GenotypeError(XnasError):
    """A genotype or an architecture string does not belong to the space."""


class TaskError(XnasError):
    """A task folder is incomplete or one of its files does not do what it must."""


class DataMissingError(XnasError):
    """A data set is not on this machine and cannot be fetched; the message says how to get it."""


class TableError(XnasError):
    """A table of a benchmark or of latencies, or a file to make one of, is malformed, unsafe or lacks an entry."""


class ObjectiveError(XnasError):
    """An objective cannot be measured on this kind of task."""


class StoreError(XnasError):
    """The result store cannot be read or written."""


class StoreLockedError(StoreError):
    """Another service writes this store."""


class StoreFullError(StoreError):
    """The disk is full or the folder is not writable; nothing that was measured is lost."""


class SearchNotFoundError(XnasError):
    """No search, or more than one, has an id that starts like this."""


class HierarchyError(XnasError):
    """Classes, weights or a file do not make a hierarchy."""


class ExplanationError(XnasError):
    """A search has no explanations of the kind that is asked for, or there are too few outcomes for any."""


class TransitionError(XnasError):
    """An event does not fit the state that a trial or search is in; the message tells its story."""


class ServiceError(XnasError):
    """The service cannot be reached, or refused the request."""


class SlurmError(XnasError):
    """Slurm cannot be reached, or refused the request."""


class ProtocolError(ServiceError):
    """Client, worker and service speak different protocol versions."""


class ControllerError(XnasError):
    """A controller broke its contract: it repeated a candidate, or proposed one that is not canonical."""


class InfluenceError(XnasError):
    """The influence of operations cannot be computed: a solver does not converge, or the network is not repeatable."""


class TrainingError(XnasError):
    """A candidate cannot be trained; ``kind`` names the failure (see ``messages.FailureKind``)."""

    kind = "exception"


class NanLossError(TrainingError):
    """The loss or a metric became NaN or infinite."""

    kind = "nan"


class OutOfMemoryError(TrainingError):
    """The device or the host ran out of memory."""

    kind = "out_of_memory"


class StoppedError(TrainingError):
    """The trial was asked to stop: cancelled, or checkpointed to make room."""

    kind = "cancelled"
