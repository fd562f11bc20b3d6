"""Every controller as a searcher of Ray Tune."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher
from ray.tune.search.variant_generator import parse_spec_vars

from xnas_ray.controllers.base import Controller, Goal, Horizon
from xnas_ray.controllers.registry import CONTROLLERS
from xnas_ray.controllers.supernet import SupernetController
from xnas_ray.errors import SpecError
from xnas_ray.messages import (
    Candidate,
    Failure,
    FailureKind,
    Genotype,
    Message,
    Outcome,
    TrialStatus,
    message_from_json,
    message_to_json,
)
from xnas_ray.randomness import canonical_json
from xnas_ray.spaces.base import Space
from xnas_ray.spaces.registry import SPACES

STATE_VERSION = 1
MODES = ("min", "max")


class XnasSearcher(Searcher):
    """A controller that Tune asks for trials: ``TuneConfig(search_alg=XnasSearcher("nasbowl", "nasbench201", ...))``.

    A trial's config has ``genotype`` (list of ints), ``architecture`` (the field's own string), ``recipe`` (settings
    that differ from yours), ``fidelity`` and ``schedule_epochs``; constants of ``param_space`` stand beside them. The
    last value that a trial reports is told to the controller when the trial ends. A trial that raises, reports NaN or
    never reports the metric is told as failed, one that is stopped before its first report as cancelled.

    The state is the record of what was asked and told, as JSON, and restoring replays it. So a restored search goes on
    with exactly the proposals that it would have made; trials that had not ended are pending until Tune tells of them.

    Args:
        controller: registered name, or ``"package.module:Class"``.
        space: what to search, or its registered name (with default parameters).
        metric: name, or names in order of importance, of what trials report and the controller optimises. It may also
            come from ``TuneConfig``, but Tune passes that on only when ``param_space`` is not empty.
        mode: ``"min"`` or ``"max"``; one for each metric where there are several.
        seed: of every random number of the controller.
        params: parameters of the controller.
        horizon: fidelity of the candidates, and the shapes of the data for analytic costs.

    Attributes:
        controller: None until metric and mode are known.

    Raises:
        SpecError: metric and mode do not fit each other.
        UnknownNameError: no such controller, parameter or space.
    """

    CKPT_FILE_TMPL = "searcher-state-{}.json"

    def __init__(
        self,
        controller: str,
        space: Space | str,
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        seed: int = 0,
        params: Mapping[str, Any] | None = None,
        *,
        horizon: Horizon | None = None,
    ) -> None:
        """Make the controller, or wait for metric and mode."""
        self._name = controller
        self._space = SPACES.create(space, {}, field="space") if isinstance(space, str) else space
        self._seed = seed
        self._params = dict(params or {})
        self._horizon = horizon or Horizon()
        self._goals: tuple[Goal, ...] = ()
        self._events: list[tuple[str | None, Message]] = []  # (Tune's trial id, candidate or outcome), in order
        self._running: dict[str, Candidate] = {}
        self.controller: Controller | None = None
        metric = metric if metric is None or isinstance(metric, str) else list(metric)
        mode = mode if mode is None or isinstance(mode, str) else list(mode)
        if metric is not None or mode is not None:
            self._set_goals(metric, mode)
        super().__init__(metric=metric, mode=mode)

    # ---- what Tune calls --------------------------------------------------------------------------------------------

    def set_search_properties(self, metric: Any, mode: Any, config: Mapping[str, Any], **spec: Any) -> bool:
        """Take metric and mode of ``TuneConfig``; True.

        Raises:
            SpecError: they differ from those of the searcher, or ``config`` holds something for Tune to draw.
        """
        _, domains, grids = parse_spec_vars(dict(config))
        if domains or grids:
            names = ["/".join(map(str, path)) for path, _ in [*domains, *grids]]
            raise SpecError(
                f"{', '.join(names)}: Tune would have to draw this, but the controller draws everything.",
                field="param_space",
                fix="Keep constants only; put what should vary into the space.",
            )
        if metric is None and mode is None:
            return True
        if not self._goals:
            self._set_goals(metric, mode)
            self._metric, self._mode = metric, mode
        elif _goals(metric, mode) != self._goals:
            raise SpecError(
                f"the searcher optimises {_told(self._goals)}, TuneConfig {_told(_goals(metric, mode))}.",
                field="metric",
                fix="Give metric and mode once.",
            )
        return True

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial; None when there is none for now, ``FINISHED`` when there will be none."""
        controller = self._ready()
        candidate = controller.propose()
        if candidate is None:  # what runs may still change the controller's mind
            return None if controller.pending else Searcher.FINISHED
        self._running[trial_id] = candidate
        self._events.append((trial_id, candidate))
        return {
            "genotype": list(candidate.genotype),
            "architecture": controller.space.format(candidate.genotype),
            "recipe": dict(candidate.recipe),
            "fidelity": candidate.fidelity,
            "schedule_epochs": candidate.schedule_epochs,
        }

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the controller; trials that it did not propose, or that have ended before, are ignored."""
        candidate = self._running.pop(trial_id, None)
        if candidate is not None:
            self._tell(trial_id, self._outcome(candidate, result, error))

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Tell the controller of an architecture that was evaluated elsewhere, at the searcher's fidelity.

        Args:
            parameters: with ``genotype`` or ``architecture``.
            value: of the metric.
            error: it failed.
            pruned: it was stopped early; such values are not comparable, so it is ignored.
            intermediate_values: ignored.

        Raises:
            SpecError: ``parameters`` names no architecture, or there are several metrics.
            GenotypeError: the architecture does not belong to the space.
        """
        controller = self._ready()
        if len(self._goals) != 1:
            raise SpecError("one value does not tell of several metrics.", field="metric")
        candidate = controller.candidate(self._genotype(parameters), stage="given")
        known = controller.known(candidate.genotype, candidate.recipe)
        if pruned or known:
            return
        self._events.append((None, candidate))
        controller.adopt(candidate)
        self._tell(None, self._outcome(candidate, {self._goals[0].name: value}, error))

    def save(self, checkpoint_path: str) -> None:
        """Write everything asked and told to a JSON file."""
        Path(checkpoint_path).write_text(json.dumps(self._state(), allow_nan=False), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Replay what ``save`` wrote, in a searcher that was made with the same arguments.

        Raises:
            SpecError: the file is none of ``save``, or of a searcher with other arguments.
            ProtocolError: it was written by an incompatible version.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            version, arguments, events = state["version"], state["arguments"], state["events"]
        except (ValueError, TypeError, KeyError) as error:
            raise SpecError(f"{checkpoint_path} holds no state of a searcher.", field="checkpoint_path") from error
        if version != STATE_VERSION:
            raise SpecError(f"the state has version {version}, not {STATE_VERSION}.", field="checkpoint_path")
        if not self._goals and arguments["goals"]:  # they came from TuneConfig
            metric, mode = zip(*arguments["goals"], strict=True)
            self._set_goals(list(metric), list(mode))
            self._metric, self._mode = (list(metric), list(mode)) if len(metric) > 1 else (metric[0], mode[0])
        for name, value in self._arguments().items():
            if arguments.get(name) != value:
                raise SpecError(
                    f"the state was saved with {arguments.get(name)!r}, this searcher has {value!r}.",
                    field=name,
                    fix="Restore with the arguments that the search began with.",
                )
        self._replay([(trial_id, message_from_json(event)) for trial_id, event in events])

    # ---- inside -----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the controller, whatever it holds; Tune pickles its configuration."""
        return {**self.__dict__, "controller": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the controller again by replay."""
        self.__dict__.update(state)
        self._replay(self._events)

    def _ready(self) -> Controller:
        if self.controller is None:
            raise SpecError(
                "the searcher does not know what to optimise.",
                field="metric",
                fix='Give it: XnasSearcher(..., metric="val_accuracy", mode="max").',
            )
        return self.controller

    def _set_goals(self, metric: Any, mode: Any) -> None:
        self._goals = _goals(metric, mode)
        self.controller = self._new_controller()

    def _new_controller(self) -> Controller:
        if issubclass(CONTROLLERS.get(self._name, field="controller"), SupernetController):
            raise SpecError(
                f"{self._name!r} trains its supernets in a job of its own, for which Tune has no place.",
                field="controller",
                fix="Give the search to the service: `xnas run` or `xnas submit`.",
            )
        return CONTROLLERS.create(
            self._name,
            self._params,
            self._space,
            self._goals,
            field="controller",
            seed=self._seed,
            horizon=self._horizon,
        )

    def _replay(self, events: Sequence[tuple[str | None, Message]]) -> None:
        """Begin anew and live through the events."""
        self._events, self._running = list(events), {}
        self.controller = self._new_controller() if self._goals else None
        for trial_id, event in events:
            if isinstance(event, Candidate):
                self._ready().adopt(event)
                if trial_id is not None:
                    self._running[trial_id] = event
            elif isinstance(event, Outcome):
                self._ready().tell(event)
                self._running.pop(str(trial_id), None)

    def _tell(self, trial_id: str | None, outcome: Outcome) -> None:
        self._ready().tell(outcome)
        self._events.append((trial_id, outcome))

    def _outcome(self, candidate: Candidate, result: Mapping[str, Any] | None, error: bool) -> Outcome:
        """How a trial ended, in our words."""
        result = result or {}
        cost_s = float(result.get("time_total_s") or 0.0)
        if not result and not error:
            return Outcome(candidate.ask_number, candidate, TrialStatus.CANCELLED)
        failure = Failure(FailureKind.EXCEPTION, "TuneError", "the trial raised; see its error.txt") if error else None
        values = {goal.name: result.get(goal.name) for goal in self._goals}
        if failure is None:
            failure = _defect(values)
        if failure is not None:
            return Outcome(candidate.ask_number, candidate, TrialStatus.FAILED, cost_s=cost_s, failure=failure)
        metrics = {name: float(value) for name, value in values.items() if value is not None}
        return Outcome(candidate.ask_number, candidate, TrialStatus.COMPLETED, metrics, cost_s=cost_s)

    def _genotype(self, parameters: Mapping[str, Any]) -> Genotype:
        if "genotype" in parameters:
            return self._space.check(parameters["genotype"])
        if "architecture" in parameters:
            return self._space.parse(parameters["architecture"])
        raise SpecError("no architecture is named.", field="parameters", got=None, valid=("genotype", "architecture"))

    def _arguments(self) -> dict[str, Any]:
        """What the record is worthless without."""
        return {
            "controller": self._name,
            "params": json.loads(canonical_json(self._params)),
            "space": self._space.fingerprint,
            "seed": self._seed,
            "fidelity": [self._horizon.fidelity, self._horizon.schedule_epochs],
            "goals": [[goal.name, "max" if goal.maximize else "min"] for goal in self._goals],
        }

    def _state(self) -> dict[str, Any]:
        events = [[trial_id, message_to_json(event)] for trial_id, event in self._events]
        return {"version": STATE_VERSION, "arguments": self._arguments(), "events": events}


def _goals(metric: Any, mode: Any) -> tuple[Goal, ...]:
    """Tune's metric and mode as objectives."""
    names = [metric] if isinstance(metric, str) else list(metric or ())
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if not names or len(names) != len(modes) or len(set(names)) != len(names):
        raise SpecError(
            f"metric and mode go in pairs, got {metric!r} and {mode!r}.",
            field="metric",
            fix='Such as metric="val_accuracy", mode="max", or two lists of the same length.',
        )
    for given in modes:
        if given not in MODES:
            raise SpecError(f"there is no mode {given!r}.", field="mode", got=given, valid=MODES)
    return tuple(Goal(name, maximize=given == "max") for name, given in zip(names, modes, strict=True))


def _told(goals: Sequence[Goal]) -> str:
    return ", ".join(f"{goal.name} ({'max' if goal.maximize else 'min'})" for goal in goals)


def _defect(values: Mapping[str, Any]) -> Failure | None:
    """Why reported values cannot be told, None when they can."""
    missing = [name for name, value in values.items() if isinstance(value, bool) or not _is_number(value)]
    if missing:
        return Failure(FailureKind.INVALID, "ValueError", f"no number was reported for {', '.join(missing)}")
    unusable = [name for name, value in values.items() if not math.isfinite(float(value))]
    if unusable:
        return Failure(FailureKind.NAN, "ValueError", f"{', '.join(unusable)} is NaN or infinite")
    return None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
