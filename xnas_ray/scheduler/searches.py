"""Lives of searches: submitted, restored, paused, extended, drained by a budget, ended."""

from __future__ import annotations

import dataclasses
import math

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.core import HOLDS_SLOT, Core
from xnas_ray.scheduler.records import Door, GangState, Phase, Search, Trial
from xnas_ray.scheduler.trials import Trials

BUDGET_REASON = "budget exhausted: "
BUDGET_SLACK_S = 1e-3
EXHAUSTED_REASON = "every architecture that the controller can propose is evaluated"


class Searches:
    """Moves searches from one state to the next."""

    def __init__(self, core: Core, trials: Trials) -> None:
        """Work on the shared state."""
        self.core = core
        self.trials = trials

    # ---- requests ---------------------------------------------------------------------------------------------------

    def submit(self, event: m.SearchSubmitted) -> None:
        """A search enters the queue, new or as an earlier service left it."""
        core = self.core
        known = core.searches.pop(event.search_id, None)
        if known is not None and not known.state.ended:
            core.searches[event.search_id] = known
            raise TransitionError(f"search {event.search_id} was submitted before, it is {known.state}.")
        search = Search(event.search_id, core.next_order(), event.config)
        if event.config.gang_workers:
            search.gang = GangState.WAITING
        if event.progress is not None:
            self._restore(search, event.progress)
        core.searches[event.search_id] = search
        core.index(search)

    @staticmethod
    def _restore(search: Search, progress: m.SearchProgress) -> None:
        search.next_trial = progress.next_trial
        search.counted = progress.counted
        search.gpu_s = progress.gpu_s
        search.running_s = progress.running_s
        search.reason = progress.reason
        search.was_running = progress.state in HOLDS_SLOT
        if progress.state == SearchState.PAUSED or progress.state.ended:
            search.state = progress.state
        if search.gang == GangState.WAITING and progress.next_trial:
            search.gang = GangState.DONE  # a gang's search proposes only what its job has found
        for pending in progress.pending:
            trial = Trial(
                pending.trial,
                Phase.QUEUED,
                retried=True,
                attempts=pending.attempts,
                failures=pending.failures,
                infrastructure_failures=pending.infrastructure_failures,
                story=[(0.0, "restored", "")],
            )
            search.trials[pending.trial] = trial
            search.unreused += 1
            search.push(trial)

    def request_pause(self, event: m.PauseRequested) -> None:
        """No new dispatch; with ``at_once`` running trials checkpoint and wait in the queue."""
        search = self.core.search(event.search_id, "pause")
        if search.state.ended or search.ending is not None:
            raise TransitionError(f"search {event.search_id} is {search.state}, it cannot be paused.")
        self.pause(search, event.reason)
        if event.at_once:
            for trial in self.trials.held(search):
                self.trials.stop(search, trial, checkpoint=True)
            self.stop_gang(search)

    def request_resume(self, event: m.ResumeRequested) -> None:
        """A paused search goes back to the queue."""
        search = self.core.search(event.search_id, "resume")
        if search.state != SearchState.PAUSED:
            raise TransitionError(
                f"search {event.search_id} is {search.state}, not paused.",
                fix="A finished search goes on with `xnas extend`." if search.state.ended else None,
            )
        self._requeue(search)

    def request_cancel(self, event: m.CancelRequested) -> None:
        """Everything of a search stops; outcomes that are durable stand."""
        search = self.core.search(event.search_id, "cancel")
        if search.state.ended:
            raise TransitionError(f"search {event.search_id} is {search.state} already.")
        self.end(search, SearchState.CANCELLED, "cancelled on request")

    def request_extend(self, event: m.ExtendRequested) -> None:
        """Other budgets; a finished search goes back to the queue, a draining one goes on."""
        search = self.core.search(event.search_id, "extend")
        if search.ending is not None or search.state in (SearchState.CANCELLED, SearchState.FAILED):
            raise TransitionError(
                f"search {event.search_id} is {search.ending or search.state}, it cannot be extended.",
                fix="Submit a new one with reuse = 'completed': its results are taken over.",
            )
        changes = {
            name: value
            for name in ("trials", "gpu_hours", "wall_clock_s")
            if (value := getattr(event, name)) is not None
        }
        search.config = dataclasses.replace(search.config, **changes)
        search.exhausted = False
        self.trials.spare(search)
        self.trials.trim(search)
        if search.state == SearchState.DRAINING and self.spent(search) is None:
            self.run(search)
        elif search.state == SearchState.DRAINING:
            self.trials.cancel_waiting(search)
        elif search.state == SearchState.FINISHED:
            self._requeue(search)

    def _requeue(self, search: Search) -> None:
        search.failed_in_a_row = 0
        search.exhausted = False
        self._enter(search, SearchState.QUEUED, "")

    # ---- transitions ------------------------------------------------------------------------------------------------

    def run(self, search: Search) -> None:
        """A search leaves the queue, or a draining one goes on."""
        others = [s for s in self.core.running.values() if s is not search]
        self._enter(search, SearchState.RUNNING, "")
        search.was_running = False
        self.core.fair.wake(search, others)
        self.trials.trim(search)
        if search.controller in (Door.CLOSED, Door.LOST):
            search.controller = Door.OPENING
            self.core.tell(m.OpenController(search.search_id))

    def pause(self, search: Search, reason: str) -> None:
        """No new dispatch; running trials finish."""
        if search.state in (SearchState.QUEUED, *HOLDS_SLOT):
            self._enter(search, SearchState.PAUSED, reason)

    def end(self, search: Search, ending: SearchState, reason: str) -> None:
        """A search is cancelled or has failed: everything of it stops."""
        if search.ending is not None:
            return
        search.ending = ending
        search.reason = reason
        if search.state != SearchState.DRAINING:
            self._enter(search, SearchState.DRAINING, reason)
        self._drain(search, stop=True)

    def _drain(self, search: Search, *, stop: bool) -> None:
        self.trials.cancel_waiting(search)
        if stop:
            for trial in self.trials.held(search):
                self.trials.stop(search, trial, checkpoint=False)
            self.stop_gang(search)

    def stop_gang(self, search: Search) -> None:
        """End the job of a gang."""
        if search.gang == GangState.RUNNING:
            search.gang = GangState.STOPPING
            self.core.tell(m.StopGang(search.search_id))

    def _enter(self, search: Search, state: SearchState, reason: str) -> None:
        now_s = self.core.now_s
        if state == SearchState.RUNNING and search.running_since is None:
            search.running_since = now_s
        elif state not in HOLDS_SLOT and search.running_since is not None:
            search.running_s = search.elapsed_s(now_s)
            search.running_since = None
        search.state = state
        search.reason = reason
        self.core.index(search)
        self.core.tell(m.LogSearch(search.search_id, state, reason))

    # ---- what a running search is watched for -----------------------------------------------------------------------

    def watch(self, search: Search) -> None:
        """Pause a running search whose trials fail one after the other; drain one whose budget is spent."""
        if search.state != SearchState.RUNNING:
            return
        limit = self.core.config.failures_in_a_row
        if search.failed_in_a_row >= limit:
            self.pause(search, f"{limit} trials failed in a row, the last with {search.last_failure}")
            return
        what = self.spent(search)
        if what is not None:
            self._enter(search, SearchState.DRAINING, BUDGET_REASON + what)
            self._drain(search, stop=search.config.hard)

    def spent(self, search: Search) -> str | None:
        """Which of the GPU and time budgets is spent, None while there is something left."""
        config, now_s = search.config, self.core.now_s
        if config.gpu_hours is not None and search.used_gpu_s(now_s) + BUDGET_SLACK_S >= config.gpu_hours * 3600:
            return f"{config.gpu_hours:g} GPU hours"
        if config.wall_clock_s is not None and search.elapsed_s(now_s) + BUDGET_SLACK_S >= config.wall_clock_s:
            return f"{config.wall_clock_s:g} s of running time"
        return None

    def spent_s(self, search: Search) -> float:
        """When a budget of a running search will be spent if nothing changes; infinite if never."""
        if search.state != SearchState.RUNNING:
            return math.inf
        config, when_s = search.config, math.inf
        if config.wall_clock_s is not None and search.running_since is not None:
            when_s = search.running_since + config.wall_clock_s - search.running_s
        if config.gpu_hours is not None and search.gpu_rate > 0:
            left_s = config.gpu_hours * 3600 - search.gpu_s + search.gpu_offset_s
            when_s = min(when_s, left_s / search.gpu_rate)
        return when_s

    def settle(self, search: Search) -> bool:
        """End a search of which nothing is live and nothing will come; returns whether it ended."""
        if search.trials or search.outstanding or search.gang in (GangState.RUNNING, GangState.STOPPING):
            return False
        if search.state == SearchState.DRAINING:
            self._close(search, search.ending or SearchState.FINISHED, search.reason)
        elif search.gang == GangState.WAITING or search.may_propose() > 0:
            return False
        else:
            self._close(search, SearchState.FINISHED, EXHAUSTED_REASON if search.headroom() > 0 else "")
        return True

    def _close(self, search: Search, state: SearchState, reason: str) -> None:
        self._enter(search, state, reason)
        search.ready.clear()
        if search.controller != Door.CLOSED:
            search.controller = Door.CLOSED
            self.core.tell(m.CloseController(search.search_id))
