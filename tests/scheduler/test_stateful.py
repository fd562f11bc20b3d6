"""Random interleavings of everything that can happen, late and duplicate reports included, against the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import FailureKind, SearchState, TrialStatus
from xnas_ray.scheduler import Scheduler, SchedulerConfig
from xnas_ray.scheduler.config import MAX_LINE
from xnas_ray.scheduler.invariants import check_invariants

from .model import Held, Model, NodeModel, SearchModel

PICK = st.integers(0, 2**16)
SHAPES = [(1.0, 0.0), (2.0, 0.0), (1.0, 0.5), (1.0, 1.0)]
FAILURES = [FailureKind.EXCEPTION, FailureKind.NAN, FailureKind.OUT_OF_MEMORY, FailureKind.WORKER_DIED]
CONFIGS = st.builds(
    lambda shape, gang_workers, **named: m.SearchConfig(
        cpus=shape[0], gpus=shape[1], gang_workers=gang_workers, **named
    ),
    shape=st.sampled_from(SHAPES),
    priority=st.sampled_from([1.0, 3.0]),
    trials=st.sampled_from([None, 1, 4, 8, 12]),
    gpu_hours=st.sampled_from([None, None, 3.0 / 3600]),
    wall_clock_s=st.sampled_from([None, None, 40.0]),
    hard=st.booleans(),
    max_workers=st.sampled_from([None, None, 1, 2]),
    retries=st.sampled_from([0, 1]),
    timeout_s=st.sampled_from([None, 20.0]),
    gang_workers=st.sampled_from([0, 0, 0, 2]),
)


class SchedulerMachine(RuleBasedStateMachine):
    """Plays the driver."""

    @initialize(line=st.sampled_from([1, 2, MAX_LINE]), lease=st.booleans(), configs=st.lists(CONFIGS, max_size=3))
    def begin(self, line: int, lease: bool, configs: list[m.SearchConfig]) -> None:
        self.config = SchedulerConfig(
            max_running_searches=2,
            prefetch_below_s=2.0 if line > 1 else 0.0,
            line_s=5.0 if line > 2 else 0.0,
            infrastructure_retries=2,
            failures_in_a_row=3,
            gang_patience_s=20.0,
            lease_s=30.0 if lease else None,
            start_attempts=2,
            start_rest_s=5.0,
            turn_s=5.0,
        )
        self.now_s = 0.0
        self.names = 0
        self.scheduler = Scheduler(self.config)
        self.model = Model(max_line=line)
        self.join("first", 4.0, 2.0)
        self.join("second", 2.0, 1.0)
        for config in configs:
            self.submit(config, 20)
        self.send(m.Tick)

    def send(
        self, kind: type[m.Event], /, *fields: Any, error: bool = False, genuine: bool = False, **named: Any
    ) -> None:
        event = kind(self.now_s, *fields, **named)
        try:
            commands = self.scheduler.handle(event)
        except TransitionError:
            assert error, f"{event} was refused"
        else:
            assert not error, f"{event} was not refused"
            self.model.obey(event, commands, genuine=genuine)
        check_invariants(self.scheduler)

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    @rule(picks=st.lists(PICK, min_size=4, max_size=24))
    def go_on_again(self, picks: list[int]) -> None:
        self.go_on(picks)

    @rule(picks=st.lists(PICK, min_size=4, max_size=24))
    def go_on(self, picks: list[int]) -> None:
        """The cluster works for a while: without this the random walk would hardly ever finish a trial."""
        for pick in picks:
            answers = [answer for waiting, answer in self.answers(pick // 16) if waiting]
            if answers:
                answers[pick % len(answers)]()

    # ---- time and nodes ---------------------------------------------------------------------------------------------

    @rule(dt_s=st.sampled_from([0.0, 0.1, 1.0, 5.0, 12.0, 40.0]))
    def tick(self, dt_s: float) -> None:
        self.now_s += dt_s
        self.send(m.Tick)

    def join(self, name: str, cpus: float, gpus: float) -> None:
        self.model.nodes[name] = NodeModel(cpus, gpus)
        self.send(m.NodeJoined, name, cpus, gpus)

    @precondition(lambda self: len(self.model.nodes) < 4)
    @rule(cpus=st.sampled_from([1.0, 2.0, 4.0]), gpus=st.sampled_from([0.0, 1.0, 2.0]))
    def node_joins(self, cpus: float, gpus: float) -> None:
        self.join(self.name("n"), cpus, gpus)

    @precondition(lambda self: len(self.model.nodes) > 1)
    @rule(pick=PICK, checkpoint=st.booleans())
    def node_drains(self, pick: int, checkpoint: bool) -> None:
        name = self.choose(self.model.nodes, pick)
        self.model.nodes[name].draining = True
        self.send(m.NodeDraining, name, checkpoint)

    @precondition(lambda self: len(self.model.nodes) > 1)
    @rule(pick=PICK)
    def node_leaves(self, pick: int) -> None:
        name = self.choose(self.model.nodes, pick)
        del self.model.nodes[name]
        for worker_id in [w for w, x in self.model.workers.items() if x.node == name]:
            self.model.forget(worker_id)
        self.send(m.NodeLeft, name)

    # ---- workers ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.workers("starting"))
    @rule(pick=PICK)
    def worker_ready(self, pick: int) -> None:
        worker_id = self.choose(self.workers("starting"), pick)
        self.model.workers[worker_id].state = "ready"
        self.send(m.WorkerReady, worker_id)

    @precondition(lambda self: self.workers("stopping", "unknown"))
    @rule(pick=PICK)
    def worker_ends(self, pick: int) -> None:
        self.worker_gone(self.choose(self.workers("stopping", "unknown"), pick))

    @precondition(lambda self: self.model.workers)
    @rule(pick=PICK, kind=st.sampled_from([FailureKind.WORKER_DIED, FailureKind.NODE_DIED]))
    def worker_dies(self, pick: int, kind: FailureKind) -> None:
        self.worker_gone(self.choose(self.model.workers, pick), kind)

    def worker_gone(self, worker_id: str, kind: FailureKind = FailureKind.WORKER_DIED) -> None:
        self.model.forget(worker_id)
        self.send(m.WorkerGone, worker_id, "gone", kind)

    @precondition(lambda self: self.busy())
    @rule(
        pick=PICK,
        failure=st.sampled_from([None, None, None, *FAILURES]),
        duration_s=st.sampled_from([0.0, 0.5, 3.0]),
        recycle=st.sampled_from([False, False, True]),
    )
    def trial_ends(self, pick: int, failure: FailureKind | None, duration_s: float, recycle: bool) -> None:
        self.report(self.choose(self.busy(), pick), failure, duration_s, recycle)

    @precondition(lambda self: self.stopped())
    @rule(pick=PICK)
    def trial_stops(self, pick: int) -> None:
        self.obey_stop(self.choose(self.stopped(), pick))

    def obey_stop(self, worker_id: str) -> None:
        held = self.model.workers[worker_id].line[0]
        checkpoint = self.model.workers[worker_id].stops[held]
        self.report(worker_id, FailureKind.PREEMPTED if checkpoint else FailureKind.CANCELLED, 0.5, False)

    def report(self, worker_id: str, failure: FailureKind | None, duration_s: float, recycle: bool) -> None:
        held: Held = self.model.workers[worker_id].line[0]
        stopped = failure in (FailureKind.PREEMPTED, FailureKind.CANCELLED)
        status = TrialStatus.CANCELLED if stopped else TrialStatus.FAILED if failure else TrialStatus.COMPLETED
        fields = (worker_id, *held, status, duration_s, failure, recycle)
        known = self.model.workers[worker_id].state != "unknown"
        genuine = self.model.release(worker_id, held) and known
        self.model.old_reports.append(m.TrialReported(0.0, *fields))
        self.send(m.TrialReported, *fields, genuine=genuine)

    # ---- searches ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.searches) < 6)
    @rule(config=CONFIGS, candidates=st.sampled_from([0, 3, 10]))
    def submit(self, config: m.SearchConfig, candidates: int) -> None:
        name = self.name("s")
        most = float("inf") if config.trials is None else config.trials
        self.model.searches[name] = SearchModel(config, most, candidates=candidates)
        self.send(m.SearchSubmitted, name, config)

    @precondition(lambda self: self.model.searches)
    @rule(pick=PICK, at_once=st.booleans())
    def pause(self, pick: int, at_once: bool) -> None:
        name = self.choose(self.model.searches, pick)
        search = self.model.searches[name]
        self.send(m.PauseRequested, name, "on request", at_once, error=search.state.ended or self.ends(search))

    @precondition(lambda self: self.model.searches)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        paused = [s for s, x in self.model.searches.items() if x.state == SearchState.PAUSED]
        name = self.choose(paused if pick % 4 and paused else self.model.searches, pick)
        self.send(m.ResumeRequested, name, error=self.model.searches[name].state != SearchState.PAUSED)

    @precondition(lambda self: self.model.searches)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        name = self.choose(self.model.searches, pick)
        search = self.model.searches[name]
        ended = search.state.ended
        search.cancelled |= not ended and not search.failed
        self.send(m.CancelRequested, name, error=ended)
        self.check_stops(name)

    def check_stops(self, name: str) -> None:
        """Everything that a cancelled or failed search runs was asked to stop."""
        for worker in self.model.workers.values():
            for held in worker.line:
                if held[0] == name and worker.state != "unknown":
                    assert worker.stops.get(held) is False, f"{held} goes on"

    @precondition(lambda self: self.model.searches)
    @rule(
        pick=PICK,
        trials=st.sampled_from([None, 2, 10]),
        gpu_hours=st.sampled_from([None, 6.0 / 3600]),
        wall_clock_s=st.sampled_from([None, 80.0]),
    )
    def extend(self, pick: int, trials: int | None, gpu_hours: float | None, wall_clock_s: float | None) -> None:
        name = self.choose(self.model.searches, pick)
        search = self.model.searches[name]
        changes = {"trials": trials, "gpu_hours": gpu_hours, "wall_clock_s": wall_clock_s}
        refused = self.ends(search) or search.state in (SearchState.CANCELLED, SearchState.FAILED)
        if not refused:
            given = {key: value for key, value in changes.items() if value is not None}
            search.config = dataclasses.replace(search.config, **given)
            search.most_trials = max(search.most_trials, trials or 0)
        self.send(m.ExtendRequested, name, trials, gpu_hours, wall_clock_s, error=refused)

    # ---- controllers, rows, gangs -----------------------------------------------------------------------------------

    @precondition(lambda self: self.controllers("opening"))
    @rule(pick=PICK)
    def controller_ready(self, pick: int) -> None:
        name = self.choose(self.controllers("opening"), pick)
        self.model.searches[name].controller = "ready"
        self.send(m.ControllerReady, name)

    @precondition(lambda self: self.controllers("opening", "ready"))
    @rule(pick=PICK)
    def controller_lost(self, pick: int) -> None:
        name = self.choose(self.controllers("opening", "ready"), pick)
        search = self.model.searches[name]
        search.controller, search.outstanding = "lost", 0
        self.send(m.ControllerLost, name, "killed")

    @precondition(lambda self: self.controllers("opening", "ready"))
    @rule(pick=PICK, surely=st.integers(0, 3))
    def controller_fails(self, pick: int, surely: int) -> None:
        if surely:
            return  # it would end too many searches early
        name = self.choose(self.controllers("opening", "ready"), pick)
        search = self.model.searches[name]
        search.failed = not search.cancelled
        search.outstanding = 0
        self.send(m.ControllerFailed, name, "ValueError")
        self.check_stops(name)

    @precondition(lambda self: self.asked())
    @rule(
        pick=PICK, refuse=st.sampled_from([False, False, False, True]), reusable=st.sampled_from([False, False, True])
    )
    def answer(self, pick: int, refuse: bool, reusable: bool) -> None:
        name = self.choose(self.asked(), pick)
        search = self.model.searches[name]
        search.outstanding -= 1
        if refuse or search.proposed >= search.candidates:
            self.send(m.ProposalRefused, name)
        else:
            number = search.proposed
            search.proposed += 1
            self.send(m.Proposed, name, number, reusable)

    @precondition(lambda self: self.model.writing("asked"))
    @rule(pick=PICK)
    def asked_durable(self, pick: int) -> None:
        name, number = self.choose(self.model.writing("asked"), pick)
        self.model.searches[name].trials[number].asked = "durable"
        self.send(m.AskedDurable, name, number)

    @precondition(lambda self: self.model.writing("terminal"))
    @rule(pick=PICK)
    def terminal_durable(self, pick: int) -> None:
        name, number = self.choose(self.model.writing("terminal"), pick)
        self.model.searches[name].trials[number].durable = True
        self.send(m.TerminalDurable, name, number)

    @precondition(lambda self: self.gangs())
    @rule(pick=PICK, ok=st.booleans())
    def gang_ends(self, pick: int, ok: bool) -> None:
        name = self.choose(self.gangs(), pick)
        search = self.model.searches[name]
        search.failed |= not ok and not search.stopping_gang and not search.cancelled
        search.gang, search.stopping_gang = {}, False
        self.send(m.GangEnded, name, ok, "" if ok else "diverged")

    # ---- noise ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.old_reports)
    @rule(pick=PICK)
    def late_report(self, pick: int) -> None:
        """A report that was delivered comes again."""
        old = self.choose(self.model.old_reports, pick)
        self.send(m.TrialReported, **{f.name: getattr(old, f.name) for f in dataclasses.fields(old)[1:]})

    @precondition(lambda self: self.model.repeated())
    @rule(pick=PICK)
    def report_of_an_old_attempt(self, pick: int) -> None:
        """The result of an earlier attempt of a running trial turns up, even from the worker that has the new one."""
        name, number, trial = self.choose(self.model.repeated(), pick)
        old = min(trial.attempts)
        self.send(m.TrialReported, trial.worker, name, number, old, TrialStatus.COMPLETED, 1.0)

    @rule(pick=PICK)
    def noise(self, pick: int) -> None:
        """What comes twice, too late or of somebody unknown changes nothing that matters."""
        ready = self.choose(self.workers("ready", "draining", "stopping") or ["w0-0"], pick)
        closed = self.choose(self.controllers("closed", "lost") or ["s0"], pick)
        events: list[tuple[Any, ...]] = [
            (m.WorkerReady, ready),
            (m.WorkerReady, "w0-0"),
            (m.WorkerGone, "w0-0"),
            (m.WorkerBeat, ready),
            (m.WorkerBeat, "w0-0"),
            (m.NodeLeft, "nowhere"),
            (m.NodeDraining, "nowhere"),
            (m.ControllerReady, closed),
            (m.ControllerLost, closed),
            (m.ControllerFailed, closed, "late"),
            (m.ControllerReady, "s0"),
            (m.GangEnded, "s0", True),
            *((m.NodeJoined, name, 1.0, 0.0) for name in list(self.model.nodes)[:1]),
        ]
        kind, *fields = self.choose(events, pick)
        self.send(kind, *fields)

    @precondition(lambda self: self.model.searches)
    @rule(pick=PICK, number=st.integers(0, 5))
    def impossible(self, pick: int, number: int) -> None:
        """Rows and proposals that cannot be are refused."""
        name = self.choose(self.model.searches, pick)
        search = self.model.searches[name]
        if (name, number) not in self.model.writing("asked"):
            self.send(m.AskedDurable, name, number, error=True)
        if (name, number) not in self.model.writing("terminal"):
            self.send(m.TerminalDurable, name, number, error=True)
        if not search.outstanding or number != search.proposed:
            self.send(m.Proposed, name, number, error=True)
        if not search.state.ended:
            self.send(m.SearchSubmitted, name, search.config, error=True)

    # ---- restart ----------------------------------------------------------------------------------------------------

    @rule(
        survivors=st.sampled_from([255, 15, 170, 0]),
        attempts_logged=st.booleans(),
        picks=st.lists(PICK, min_size=10, max_size=30),
    )
    def restart(self, survivors: int, attempts_logged: bool, picks: list[int]) -> None:
        """The service is killed; the next one is told what the disk and the living workers know."""
        self.go_on(picks)
        model = self.model
        model.restart()
        self.scheduler = Scheduler(self.config, model.epoch)
        for name, node in model.nodes.items():
            self.send(m.NodeJoined, name, node.cpus, node.gpus)
            if node.draining:
                self.send(m.NodeDraining, name)
        for name, search in model.searches.items():
            self.send(m.SearchSubmitted, name, search.config, model.progress(name, attempts_logged))
            if search.cancelled:
                self.send(m.CancelRequested, name)
        for index, (worker_id, worker) in enumerate(list(model.workers.items())):
            if worker.state in ("starting", "stopping", "unknown") or not survivors >> (index % 8) & 1:
                del model.workers[worker_id]
            else:
                self.adopt(worker_id)
        self.send(m.Tick)

    def adopt(self, worker_id: str) -> None:
        worker = self.model.workers[worker_id]
        worker.adopted, worker.state = True, "ready"
        worker.stops.clear()
        trials = []
        for search_id, number, attempt in worker.line:
            search = self.model.searches.get(search_id)
            trial = search.trials.get(number) if search else None
            waits = trial is not None and trial.terminal is None and trial.live is None
            trials.append((trial if waits else None, attempt))
        ours = all(trial is not None for trial, _ in trials)
        if ours:
            for trial, attempt in trials:
                trial.live, trial.worker = attempt, worker_id
        self.send(m.WorkerAdopted, worker_id, worker.node, *worker.shape, tuple(worker.line))
        assert (worker.state == "stopping") == (not ours)
        if not ours:
            worker.state = "unknown"

    # ---- what there is ----------------------------------------------------------------------------------------------

    @staticmethod
    def choose(things: Any, pick: int) -> Any:
        items = list(things)
        return items[pick % len(items)]

    @staticmethod
    def ends(search: SearchModel) -> bool:
        return (search.cancelled or search.failed) and not search.state.ended

    def workers(self, *states: str) -> list[str]:
        return [w for w, x in self.model.workers.items() if x.state in states]

    def busy(self) -> list[str]:
        return [w for w, x in self.model.workers.items() if x.line]

    def stopped(self) -> list[str]:
        return [w for w, x in self.model.workers.items() if x.line and x.line[0] in x.stops]

    def controllers(self, *states: str) -> list[str]:
        return [s for s, x in self.model.searches.items() if x.controller in states]

    def asked(self) -> list[str]:
        return [s for s, x in self.model.searches.items() if x.outstanding and x.controller == "ready"]

    def gangs(self) -> list[str]:
        return [s for s, x in self.model.searches.items() if x.gang]

    # ---- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From now on everybody answers faithfully: then everything that is not paused comes to its end."""
        if not hasattr(self, "model"):
            return
        self.join("last", 8.0, 4.0)
        for _ in range(5000):
            if self.answer_something():
                continue
            self.check_rest()
            wake_s = self.scheduler.next_wakeup_s
            if self.at_rest() or wake_s is None:
                break
            self.now_s = max(self.now_s, wake_s)
            for worker_id in self.workers("ready", "draining"):
                self.send(m.WorkerBeat, worker_id)
            self.send(m.Tick)
        assert self.at_rest(), f"it does not come to its end: {self.model.summary()}"

    def at_rest(self) -> bool:
        return all(s.state.ended or s.state == SearchState.PAUSED for s in self.model.searches.values())

    def check_rest(self) -> None:
        for name, search in self.model.searches.items():
            if search.state.ended:
                assert all(t.durable and t.told == 1 for t in search.trials.values()), f"{name}: {search.trials}"

    def answer_something(self) -> bool:
        for waiting, answer in self.answers(0):
            if waiting:
                answer()
                return True
        return False

    def answers(self, pick: int) -> list[tuple[list[Any], Callable[[], None]]]:
        """What somebody waits for, and how to give it, as it should be."""
        return [
            (self.workers("stopping", "unknown"), lambda: self.worker_ends(pick)),
            (self.workers("starting"), lambda: self.worker_ready(pick)),
            (self.controllers("opening"), lambda: self.controller_ready(pick)),
            (self.asked(), lambda: self.answer(pick, False, False)),
            (self.model.writing("asked"), lambda: self.asked_durable(pick)),
            (self.model.writing("terminal"), lambda: self.terminal_durable(pick)),
            (self.gangs(), lambda: self.gang_ends(pick, True)),
            (self.stopped(), lambda: self.trial_stops(pick)),
            (self.busy(), lambda: self.work_on(pick)),
        ]

    def work_on(self, pick: int) -> None:
        """Most trials end well; of every sixteen picks three do not."""
        self.now_s += 0.5
        failure = {5: FailureKind.EXCEPTION, 9: FailureKind.WORKER_DIED, 13: FailureKind.NAN}.get(pick % 16)
        self.trial_ends(pick // 16, failure, 1.0, pick % 16 == 3)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
