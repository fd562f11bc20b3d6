"""One search from Python: follow it, steer it, read what it found."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.errors import SearchNotFoundError, ServiceError, SpecError, StoreError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.service.connection import CALL_TIMEOUT_S, SUBMIT_TIMEOUT_S

if TYPE_CHECKING:
    import pandas as pd

    from xnas_ray.client import Client
    from xnas_ray.spec import SearchSpec

WAIT_SLICE_S = 10.0

Status = dict[str, Any]
"""Where a search stands; see ``service.archive.stored_status`` for the keys."""


class SearchHandle:
    """One search.

    Attributes:
        client: through which it was found.
        id: its whole id.
    """

    def __init__(self, client: Client, search_id: str) -> None:
        """Used by ``Client.submit`` and ``Client.handle``."""
        self.client = client
        self.id = search_id

    # ---- following ---------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where it stands: from the store if it has ended, else from the service.

        Raises:
            ServiceError: it has not ended and no service works on this store.
        """
        ended = self._ended()
        if ended is not None:
            return ended
        try:
            return self.client.service.call("status", self.id)[0]
        except SearchNotFoundError:
            return self.stored_status()  # it ended between the two questions

    def stored_status(self) -> Status:
        """Where it stands as far as the store knows; needs no service."""
        return self.client.store.status(self.id)

    def stored_summary(self) -> dict[str, Any]:
        """Counts, budget and best trial as far as the store knows (see ``service.archive.stored_summary``)."""
        return self.client.store.summary(self.id)

    def card(self) -> dict[str, Any]:
        """Its complete specification, its task's hash and its objectives, as it was submitted or last extended."""
        return self.client.store.card(self.id)

    def transitions(self) -> list[dict[str, Any]]:
        """Every transition in order: ``at``, ``state``, ``reason``, ``epoch``."""
        return self.client.store.transitions(self.id)

    def wait(self, timeout_s: float | None = None) -> Status | None:
        """Block until it has ended or is paused; its status then, None when ``timeout_s`` passed first.

        Raises:
            ServiceError: no service works on this store, or it ended meanwhile.
        """
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        ended = self._ended()
        while ended is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            slice_s = min(WAIT_SLICE_S, left_s)
            try:
                ended = self.client.service.call("wait", self.id, slice_s, timeout_s=slice_s + CALL_TIMEOUT_S)
            except SearchNotFoundError:
                ended = self.stored_status()
        return ended

    def _ended(self) -> Status | None:
        """The status of a search that the store knows to have ended."""
        return self.stored_status() if self.client.store.ended(self.id) else None

    # ---- steering ----------------------------------------------------------------------------------------------------

    def pause(self, *, at_once: bool = False) -> None:
        """Dispatch nothing more; running trials finish, or with ``at_once`` checkpoint and go on after ``resume``."""
        self.client.service.call("pause", self.id, at_once)

    def resume(self) -> None:
        """Go on after a pause."""
        self.client.service.call("resume", self.id)

    def cancel(self) -> None:
        """End it; running trials stop at their next batch."""
        self.client.service.call("cancel", self.id)

    def extend(
        self, trials: int | None = None, gpu_hours: float | None = None, wall_clock: float | None = None
    ) -> None:
        """Give it a larger budget: the new totals, not what is added. A finished search is reopened.

        Raises:
            SpecError: no limit is given, or one is not above 0.
        """
        limits = {"trials": trials, "gpu_hours": gpu_hours, "wall_clock": wall_clock}
        if all(value is None for value in limits.values()):
            raise SpecError("give at least one new limit.", field="budget", valid=limits)
        for name, value in limits.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise SpecError(f"must be above 0, got {value}.", field=f"budget.{name}")
        self.client.service.call("extend", self.id, trials, gpu_hours, wall_clock, timeout_s=SUBMIT_TIMEOUT_S)

    def measure_test(self, trial: int) -> dict[str, float]:
        """Metrics of a trial's stored weights on the test split: measured once, afterwards the stored figures."""
        return dict(self.client.service.call("measure_test", self.id, trial, timeout_s=SUBMIT_TIMEOUT_S))

    def finalists_spec(
        self,
        *,
        trials: Sequence[int] | None = None,
        top: int | None = None,
        seeds: int = 3,
        epochs: int | None = None,
        untaught: bool = False,
        **resources: float,
    ) -> tuple[SearchSpec, str]:
        """The search that trains this one's finalists anew (see ``finalize``), and its idempotency key."""
        from xnas_ray.service import finalists

        if trials is None:
            chosen = finalists.choose(self.best(None), top)
        else:
            known = self.client.store.trials(self.id)
            completed = known[known["status"] == "completed"].set_index("trial")["genotype"]
            for number in trials:
                if number not in completed.index:
                    raise StoreError(
                        "is no completed trial.", field="trials", got=number, valid=completed.index.tolist()
                    )
            chosen = [{"trial": number, "genotype": completed[number]} for number in dict.fromkeys(trials)]
        spec = finalists.specification(
            self.id, self.card(), chosen, seeds=seeds, epochs=epochs, resources=dict(resources), untaught=untaught
        )
        return spec, finalists.key_of(spec)

    def distilled_spec(self, **resources: float) -> tuple[SearchSpec, str]:
        """The search that distils the finalists of this search of finalists (see ``distil``), and its key."""
        from xnas_ray.service import distilled, finalists

        card, trials = self.card(), self.client.store.trials(self.id)
        searched = self.client.store.trials(distilled.searched_by(self.id, card))
        spec = distilled.specification(self.id, card, trials, searched, resources=dict(resources))
        return spec, finalists.key_of(spec)

    def distil(self, **resources: float) -> SearchHandle:
        """Queue the training of the same finalists as students of the largest of them, itself included.

        This search is one of finalists, trained on labels (see ``finalize``). Who teaches is the finalist with the
        most FLOPs, as its first seed left it. Asking for the same again gives the same search.

        Args:
            **resources: ``cpus``, ``gpus``, ``workers``: what differs from this search's resources.

        Returns:
            The search of the students; ``finalists(beside=this)`` is what it found.

        Raises:
            StoreError: this is no search of finalists, they had a teacher already, or the largest was not trained.
            SpecError: a value is out of range, or the search chooses teachers by itself.
            ServiceError: no service works on this store.
        """
        return self.submit_child(*self.distilled_spec(**resources))

    def finalize(self, **given: Any) -> SearchHandle:
        """Queue the last training of this search's finalists: with several seeds, on train and validation.

        They are measured on the test split, once each. The task is as it was when this search was submitted. Asking
        for the same again gives the same search.

        Args:
            **given: ``trials``: their numbers; by default the Pareto front, with one objective the best. ``top``: at
                most so many of them. ``seeds``: trainings of each, 3. ``epochs``: of each; by default the schedule of
                this search or the task's epochs, whichever is longer. ``untaught``: train on labels alone, even if
                this search has a teacher. ``cpus``, ``gpus``, ``workers``: what differs from this search's
                resources; above one GPU the ranks of a training share each batch.

        Returns:
            The search of the finalists; ``finalists`` is what it found.

        Raises:
            StoreError: no such trial, or this search is one of finalists itself.
            SpecError: a value is out of range.
            ServiceError: no service works on this store.
        """
        return self.submit_child(*self.finalists_spec(**given))

    def finalists(self, *, beside: SearchHandle | None = None) -> pd.DataFrame:
        """What a search of finalists found: one row each, with means and spreads over its seeds.

        See ``service.finalists.finalists_frame`` for the columns.

        Args:
            beside: of students the search of their teacher: then the columns are its own, and those of the students
                stand beside them (see ``service.distilled.side_by_side``).

        Raises:
            StoreError: this is no search of finalists.
        """
        if beside is not None:
            from xnas_ray.service import distilled

            card = beside.card()
            searched = self.client.store.trials(distilled.searched_by(beside.id, card))
            return distilled.side_by_side(beside.finalists(), self.finalists(), distilled.largest(card, searched))
        from xnas_ray.service.finalists import finalists_frame

        card = self.card()
        if card["spec"].get("measure_on") != "test":
            raise StoreError(f"search {self.id} trains no finalists.", fix=f"Begin with `xnas finalize {self.id}`.")
        parent = SearchHandle(self.client, card["spec"]["parent"])
        trials = self.client.store.trials(self.id)
        return finalists_frame(card, trials, self.client.store.trials(parent.id), parent.card()["objectives"])

    # ---- designing ---------------------------------------------------------------------------------------------------

    def design(self, flops: float | Sequence[float] = (), **given: Any) -> dict[str, Any]:
        """Architectures for new budgets, by a predictor that learns from this search's completed trials alone.

        It takes seconds and trains no network; it needs no service, and the search may still run.

        Args:
            flops: most FLOPs; of several each is a budget of its own.
            **given: ``params``: most parameters, in every budget. ``top``: designs a budget, 5. ``neighbours``:
                evaluated architectures that are named beside each, 3. ``members``: networks of the predictor, 5.
                ``pool``: architectures that are counted to pretrain it, 4,000. ``caution``: standard deviations of the
                members that are taken off a prediction before it is ranked, 0.

        Returns:
            See ``service.design_search.design_search``: ``designs``, budget by budget and the best first, and how far
            to trust them (``held_out``, ``warnings``). ``service.designs.designs_frame`` makes a table of it.

        Raises:
            ExplanationError: too few trials completed.
            SpecError: a value is out of range, or nothing within a budget was found.
            StoreError: it is a search of finalists.
        """
        from xnas_ray.service.designs import Query

        limits = (flops,) if isinstance(flops, (int, float)) else flops
        query = Query.from_json({**given, "flops": [float(limit) for limit in limits]})
        return self.client.store.design(self.id, query.to_json())

    def designs_spec(self, answer: Mapping[str, Any], *, seeds: int = 1, **resources: float) -> tuple[SearchSpec, str]:
        """The search that trains designs, as this one trained its candidates, and its idempotency key.

        Args:
            answer: what ``design`` gave; of its ``designs`` some may be left out.
            seeds: trainings of each.
            **resources: ``cpus``, ``gpus``, ``workers``: what differs from this search's resources.

        Raises:
            SpecError: a value is out of range.
        """
        from xnas_ray.service import designs

        spec = designs.specification(self.card(), answer, seeds=seeds, resources=dict(resources))
        return spec, designs.key_of(spec)

    def submit_designs(self, answer: Mapping[str, Any], **given: Any) -> SearchHandle:
        """Queue the training of designs; asking for the same again gives the same search.

        Args:
            answer: what ``design`` gave; of its ``designs`` some may be left out.
            **given: see ``designs_spec``.

        Raises:
            SpecError: a value is out of range.
            ServiceError: no service works on this store.
        """
        return self.submit_child(*self.designs_spec(answer, **given))

    def submit_child(self, spec: SearchSpec, key: str) -> SearchHandle:
        """Queue a search that this one gave rise to, on its task as it was then."""
        task_hash = self.card()["task_hash"]
        search_id = self.client.service.call(
            "submit", PROTOCOL_VERSION, spec.to_json(), task_hash, key, timeout_s=SUBMIT_TIMEOUT_S
        )
        return SearchHandle(self.client, search_id)

    # ---- results -----------------------------------------------------------------------------------------------------

    def results(self, *, front: bool = False) -> pd.DataFrame:
        """One row a finished trial, in the order in which they ended (see ``store.load_trials``).

        Besides the columns of the store: ``front`` (whether no other feasible trial is at least as good in every
        objective and better in one, of all that have ended), ``generation`` and ``parents`` (trial numbers) where the
        controller has them.

        Args:
            front: only the trials on the front.
        """
        from xnas_ray.service.ranking import with_standing

        found = with_standing(self.client.store.trials(self.id), self.card())
        return found[found["front"]].reset_index(drop=True) if front else found

    def curves(self) -> pd.DataFrame:
        """Learning curves, long (see ``store.load_curves``)."""
        return self.client.store.curves(self.id)

    def explanations(self, kind: str) -> pd.DataFrame:
        """What the controller has learnt, such as ``"motifs"``.

        From the store once the search has finished; of a running one from the service, and without a service from its
        rows, which are told to a new controller here.

        Raises:
            ExplanationError: the controller gives no explanations of this kind.
        """
        return self.client.store.explanations(self.id, kind, self._live_explanations)

    def _live_explanations(self) -> dict[str, Any]:
        """Those of a search in a running service, none where there is no service or it has just ended."""
        with contextlib.suppress(ServiceError, SearchNotFoundError):
            return self.client.service.call("explain", self.id)
        return {}

    def joint(self) -> dict[str, Any] | None:
        """What made its architectures good, from all explanations together (see ``report.joint.JointInfo``), as JSON.

        None where too few architectures are measured to tell. It is what the report shows; numbers that are not known
        are None.

        Raises:
            StoreError: a part is damaged.
        """
        from xnas_ray.report.page import unpacked

        return unpacked(self.client.store.report([self.id]))["searches"][0]["joint"]

    def best(self, n: int | None = 1) -> list[dict[str, Any]]:
        """The best completed trials that satisfy the constraints, best first by the first objective.

        Each has ``trial``, ``architecture``, ``genotype``, ``metrics``, ``objectives``, ``front`` (whether no other
        trial is at least as good in every objective and better in one), ``duration_s`` and ``weights``.
        """
        return self.client.store.best(self.id, n)

    def graphs(self, trial: int) -> tuple[str, dict[str, Any]]:
        """A finished trial's architecture as text, and its graphs by cell type (see ``Space.graphs``).

        Raises:
            XnasError: there is no such trial, or the task cannot be imported.
        """
        return self.client.store.trial_graphs(self.id, trial)

    def export(self, trial: int, folder: Path | str) -> Path:
        """Write a trial's architecture, recipe, weights (if they were kept) and a loader; returns the folder.

        Raises:
            XnasError: there is no such trial, or the folder is not empty.
        """
        return self.client.store.export(self.id, trial, Path(folder))

    def verify(self) -> dict[str, Any]:
        """Derive every proposal again from the rows: ``asked``, ``equal``, ``tells``, and the first ``mismatch``."""
        return self.client.store.verify(self.id)
