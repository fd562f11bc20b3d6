"""Controllers at work: opened from the store, asked and told in order, one process for several searches."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xnas_ray.controllers.base import Controller
from xnas_ray.controllers.supernet import Derived, SupernetController
from xnas_ray.errors import SearchNotFoundError
from xnas_ray.messages import Candidate
from xnas_ray.randomness import canonical_json, training_seed
from xnas_ray.service.derived import derived_architectures
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.resolve import Search, open_search, resolve
from xnas_ray.service.trial_explanations import trial_explanations
from xnas_ray.spec import SearchSpec
from xnas_ray.store.replay import replay
from xnas_ray.store.rows import NEVER_TOLD, Position
from xnas_ray.training.recipe import identity


class OpenSearch:
    """One search's controller, and how far it has been told."""

    def __init__(self, search: Search) -> None:
        """Construct the controller."""
        self.search = search
        self.controller: Controller = search.controller()
        self.told_through = NEVER_TOLD
        self._warm = search.first_architectures

    def adopt(self, candidate: Candidate) -> None:
        """Replay one asked candidate."""
        self.controller.adopt(candidate)

    def tell(self, told: Told) -> None:
        """Hand one outcome to the controller, in the store's order."""
        self.controller.tell(told.outcome)
        self.told_through = told.seq

    def derive(self, found: Sequence[Derived]) -> None:
        """Hand what the job of a supernet search has found to its controller."""
        if found:
            assert isinstance(self.controller, SupernetController)
            self.controller.derive(found)

    def propose(self) -> Proposal | None:
        """The next candidate: first the warm start, then the controller's own."""
        started = time.process_time()
        candidate = self._next_warm() or self.controller.propose()
        if candidate is None:
            return None
        spec, space = self.search.spec, self.search.space
        recipe = identity({**spec.recipe, **candidate.recipe})
        key = space.key(candidate.genotype)
        cost = space.cost(candidate.genotype, self.search.shape)
        return Proposal(
            candidate=candidate,
            key=key,
            architecture=space.format(candidate.genotype),
            recipe=canonical_json(recipe),
            train_seed=training_seed(
                spec.train_seed,
                self.search.task.hash,
                space.fingerprint,
                key,
                recipe,
                candidate.replicate,
                self.search.trained_on,
            ),
            flops=cost.flops,
            params=cost.params,
            latency_table_ms=cost.latency_table_ms,
            told_through=self.told_through,
            ask_s=time.process_time() - started,
        )

    def explain(self) -> dict[str, Any]:
        """What the trials say, and what the controller says, who knows better."""
        from xnas_ray.explain.measured_architectures import Trial

        told = self.controller.completed()
        trials = [Trial(o.trial, o.candidate.genotype, o.candidate.fidelity, o.metrics) for o in told]
        maximize = {goal.name: goal.maximize for goal in self.controller.objectives}
        said = trial_explanations(self.controller.space, trials, maximize, seed=self.controller.seed)
        return {**said, **self.controller.explain()}

    def _next_warm(self) -> Candidate | None:
        """The next architecture of ``warm_start`` that is not known; a function of what is known, so it replays."""
        for genotype in self._warm:
            if not self.controller.known(genotype):
                candidate = self.controller.candidate(genotype, stage="warm_start")
                self.controller.adopt(candidate)
                return candidate
        return None


class ControllerHost:
    """Holds the controllers of several searches; every method is called in the order of the head's calls."""

    def __init__(self, root: str) -> None:
        """Work on the store at ``root``, which this process only reads."""
        self.root = Path(root)
        self._open: dict[str, OpenSearch] = {}

    def __repr__(self) -> str:
        """What Ray's dashboard shows."""
        return f"controllers of {self.root}"

    def resolve(self, spec: Mapping[str, Any], task_hash: str) -> dict[str, Any]:
        """The card of a complete, checked search (see ``resolve.resolve``)."""
        return resolve(self.root, SearchSpec.from_mapping(spec), task_hash).card()

    def open(self, search_id: str, card: Mapping[str, Any]) -> Position:
        """Construct a controller and replay its durable rows; returns (epoch, seq) of the last outcome told."""
        opened = OpenSearch(open_search(self.root, card))
        opened.derive(derived_architectures(self.root, search_id))
        history = replay(self.root, search_id)
        for asked in history.asked:
            opened.adopt(asked.candidate)
        for position, outcome in zip(history.positions, history.outcomes, strict=True):
            opened.tell(Told(position, outcome))
        self._open[search_id] = opened
        return opened.told_through

    def step(self, search_id: str, tells: Sequence[Told], proposals: int) -> list[Proposal | None]:
        """Tell outcomes, then propose; None ends the list when the controller has no candidate for now.

        Raises:
            SearchNotFoundError: the search is not open here (the process was restarted).
            RuntimeError: the controller raised; the text carries its traceback.
        """
        opened = self._open.get(search_id)
        if opened is None:
            raise SearchNotFoundError(f"search {search_id} is not open in this controller host.")
        try:
            for told in tells:
                opened.tell(told)
            found: list[Proposal | None] = []
            for _ in range(proposals):
                found.append(opened.propose())
                if found[-1] is None:
                    break
            return found
        except Exception as error:
            raise RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-8)}") from None

    def explain(self, search_id: str) -> dict[str, Any]:
        """Explanation tables by kind."""
        opened = self._open.get(search_id)
        return opened.explain() if opened else {}

    def close(self, search_id: str) -> None:
        """Forget a search."""
        self._open.pop(search_id, None)
