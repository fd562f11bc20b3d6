"""What clients ask of a store, wherever it is: a folder here, or the other side of an HTTP connection."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from xnas_ray.errors import ExplanationError

if TYPE_CHECKING:
    import pandas as pd

NO_EXPLANATIONS = {
    "motifs": "Search with --controller nasbowl; with --reuse completed it takes these results over.",
    "decision_tree": "Search with an objective of decision trees, such as nbdt_gap.",
}
"""What to do about a search that has no explanations of a kind."""

OF_TRIALS = frozenset({"decision_tree", "wordnet_agreement", "introspectability_layers", "introspectability_pairs"})
"""Kinds that objectives give: a trial's are stored when it ends, and no controller knows them."""

Live = Callable[[], Mapping[str, Any]]
"""Explanations of a search that runs, by kind; empty where nobody can be asked."""


class NewLines(Protocol):
    """A log that is followed."""

    def new(self) -> list[dict[str, Any]]:
        """Lines that were not returned yet (see ``log_lines.LogLines``)."""


class StoreAccess(Protocol):
    """The questions; every ``search_id`` is a whole one, and an unknown one raises ``SearchNotFoundError``."""

    @property
    def name(self) -> str:
        """The folder or address, as people write it."""

    def resolve(self, prefix: str) -> str:
        """See ``store.resolve_search_id``."""

    def searches(self) -> pd.DataFrame:
        """See ``store.list_searches``."""

    def spooled(self) -> list[dict[str, Any]]:
        """See ``spool.waiting``."""

    def ended(self, search_id: str) -> bool:
        """Whether the store knows that the search has ended."""

    def status(self, search_id: str) -> dict[str, Any]:
        """See ``archive.stored_status``."""

    def summary(self, search_id: str) -> dict[str, Any]:
        """See ``archive.stored_summary``."""

    def card(self, search_id: str) -> dict[str, Any]:
        """See ``archive.stored_card``."""

    def transitions(self, search_id: str) -> list[dict[str, Any]]:
        """See ``archive.transitions``."""

    def trials(self, search_id: str) -> pd.DataFrame:
        """See ``store.load_trials``."""

    def curves(self, search_id: str) -> pd.DataFrame:
        """See ``store.load_curves``."""

    def best(self, search_id: str, count: int | None) -> list[dict[str, Any]]:
        """See ``archive.best_trials``."""

    def explanations(self, search_id: str, kind: str, live: Live) -> pd.DataFrame:
        """See ``SearchHandle.explanations``; ``live`` gives those of a running search."""

    def logs(self, search_id: str, trial: int | None = None) -> NewLines:
        """The log of a search, or of one of its trials, from its beginning."""

    def failure_lines(self, search_id: str, trial: int) -> list[dict[str, Any]]:
        """See ``log_lines.failure_lines``."""

    def trial_graphs(self, search_id: str, trial: int) -> tuple[str, dict[str, Any]]:
        """See ``explanations.trial_graphs``."""

    def export(self, search_id: str, trial: int, folder: Path) -> Path:
        """See ``export.export_trial``."""

    def report(self, search_ids: Sequence[str]) -> bytes:
        """See ``report_data.report_data``."""

    def verify(self, search_id: str) -> dict[str, Any]:
        """What ``verify.verify`` found, as JSON has it (see ``verification_json``)."""

    def design(self, search_id: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """See ``design_search.design_search``."""

    def take_task(self, folder: Path) -> str:
        """Bring a task folder into the store; the hash of its content (see ``tasks.bundle.bundle_task``)."""

    def living_writer(self) -> str:
        """Who works on the store now (see ``archive.living_writer``)."""


Run = Callable[..., Any]
"""Calls a function somewhere: its name as ``"module:function"``, then its arguments."""


def here(name: str, *arguments: Any) -> Any:
    """Call a function of this package by its name, in this process.

    Args:
        name: ``"module:function"``, the module within ``xnas_ray.service``. It is imported only now: whoever has the
            function called in another process need not have what it imports.
        *arguments: of the function.
    """
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"xnas_ray.service.{module}"), function)(*arguments)


class LocalStore:
    """A store that is a folder of this machine.

    Args:
        root: the folder.
        run: calls functions that import the code of tasks; another process for one that must stay small and safe.
    """

    def __init__(self, root: Path, run: Run = here) -> None:
        """Read nothing yet."""
        self.root = root
        self._run = run

    @property
    def name(self) -> str:
        """See ``StoreAccess.name``."""
        return str(self.root)

    def resolve(self, prefix: str) -> str:
        """See ``StoreAccess.resolve``."""
        from xnas_ray.store import resolve_search_id

        return resolve_search_id(self.root, prefix)

    def searches(self) -> pd.DataFrame:
        """See ``StoreAccess.searches``."""
        from xnas_ray.store import list_searches

        return list_searches(self.root)

    def spooled(self) -> list[dict[str, Any]]:
        """See ``StoreAccess.spooled``."""
        from xnas_ray.service import spool

        return spool.waiting(self.root)

    def ended(self, search_id: str) -> bool:
        """See ``StoreAccess.ended``."""
        from xnas_ray.service.archive import stored_state

        return stored_state(self.root, search_id).ended

    def status(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.status``."""
        from xnas_ray.service.archive import stored_status

        return stored_status(self.root, search_id)

    def summary(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.summary``."""
        from xnas_ray.service.archive import stored_summary

        return stored_summary(self.root, search_id)

    def card(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.card``."""
        from xnas_ray.service.archive import stored_card

        return stored_card(self.root, search_id)

    def transitions(self, search_id: str) -> list[dict[str, Any]]:
        """See ``StoreAccess.transitions``."""
        from xnas_ray.service.archive import transitions

        return transitions(self.root, search_id)

    def trials(self, search_id: str) -> pd.DataFrame:
        """See ``StoreAccess.trials``."""
        from xnas_ray.store import load_trials

        return load_trials(self.root, search_id)

    def curves(self, search_id: str) -> pd.DataFrame:
        """See ``StoreAccess.curves``."""
        from xnas_ray.store import load_curves

        return load_curves(self.root, search_id)

    def best(self, search_id: str, count: int | None) -> list[dict[str, Any]]:
        """See ``StoreAccess.best``."""
        from xnas_ray.service.archive import best_trials

        return best_trials(self.root, search_id, count)

    def explanations(self, search_id: str, kind: str, live: Live) -> pd.DataFrame:
        """See ``StoreAccess.explanations``.

        Raises:
            ExplanationError: neither the controller nor an objective gives any of this kind.
        """
        from xnas_ray.service.archive import stored_explanations

        ended, of_trials = self.ended(search_id), kind in OF_TRIALS
        found = stored_explanations(self.root, search_id, kind) if ended or of_trials else None
        if found is not None:
            return found
        if of_trials:
            raise ExplanationError(
                f"search {search_id} has no {kind}: none of its objectives gives any, or no trial has ended.",
                field="search_id",
                fix=NO_EXPLANATIONS.get(kind),
            )
        tables = ({} if ended else live()) or self._run("explanations:derived_explanations", self.root, search_id)
        if kind in tables:
            return tables[kind]
        controller = self.card(search_id)["spec"]["controller"]["name"]
        raise ExplanationError(
            f"search {search_id} has no {kind}: its controller {controller!r} gives none.",
            field="search_id",
            valid=sorted(tables) or None,
            fix=NO_EXPLANATIONS.get(kind),
        )

    def logs(self, search_id: str, trial: int | None = None) -> NewLines:
        """See ``StoreAccess.logs``."""
        from xnas_ray.service.log_lines import LogLines

        return LogLines(self.root, search_id, trial)

    def failure_lines(self, search_id: str, trial: int) -> list[dict[str, Any]]:
        """See ``StoreAccess.failure_lines``."""
        from xnas_ray.service.log_lines import failure_lines

        return failure_lines(self.root, search_id, trial)

    def trial_graphs(self, search_id: str, trial: int) -> tuple[str, dict[str, Any]]:
        """See ``StoreAccess.trial_graphs``."""
        return self._run("explanations:trial_graphs", self.root, search_id, trial)

    def export(self, search_id: str, trial: int, folder: Path) -> Path:
        """See ``StoreAccess.export``."""
        return self._run("export:export_trial", self.root, search_id, trial, folder)

    def report(self, search_ids: Sequence[str]) -> bytes:
        """See ``StoreAccess.report``."""
        return self._run("report_data:report_data", self.root, tuple(search_ids))

    def verify(self, search_id: str) -> dict[str, Any]:
        """See ``StoreAccess.verify``."""
        return self._run("store_access:verification_json", self.root, search_id)

    def design(self, search_id: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """See ``StoreAccess.design``."""
        return self._run("design_search:design_search", self.root, search_id, dict(query))

    def take_task(self, folder: Path) -> str:
        """See ``StoreAccess.take_task``."""
        from xnas_ray.tasks.bundle import bundle_task

        return bundle_task(folder, self.root).hash

    def living_writer(self) -> str:
        """See ``StoreAccess.living_writer``."""
        from xnas_ray.service.archive import living_writer

        return living_writer(self.root)


def verification_json(root: Path, search_id: str) -> dict[str, Any]:
    """``verify.verify`` as JSON: ``search_id``, ``asked``, ``equal``, ``tells``, and the first ``mismatch`` or None."""
    from xnas_ray.service.verify import verify

    found = verify(root, search_id)
    facts = {name: getattr(found, name) for name in ("search_id", "asked", "equal", "tells")}
    fields = ("trial", "field", "recorded", "derived")
    mismatch = found.mismatch
    return {**facts, "mismatch": mismatch and {name: _plain(getattr(mismatch, name)) for name in fields}}


def _plain(value: object) -> object:
    return value if isinstance(value, (int, str, tuple, dict)) or value is None else str(value)
