"""The state that all parts of the scheduler share, and the commands that they have given so far."""

from __future__ import annotations

from xnas_ray.errors import TransitionError
from xnas_ray.messages import Command, SearchState
from xnas_ray.scheduler.alarms import Alarms
from xnas_ray.scheduler.config import SchedulerConfig
from xnas_ray.scheduler.fair_share import FairShare
from xnas_ray.scheduler.pool import Pool
from xnas_ray.scheduler.records import Search, Trial

HOLDS_SLOT = (SearchState.RUNNING, SearchState.DRAINING)


class Core:
    """Facts, and the commands of the event that is being handled.

    Attributes:
        searches: every search that was submitted, ended ones included.
        running: those that hold a running slot; what every event costs grows with these alone.
        queued: those that wait for one.
        out: the commands so far.
        now_s: the time.
        open: whether the first tick has come: before it the world is only described.
        stale_reports: reports that fitted nothing.
    """

    def __init__(self, config: SchedulerConfig, epoch: int) -> None:
        """Nothing known; closed until the first tick."""
        self.config = config
        self.epoch = epoch
        self.pool = Pool(epoch)
        self.alarms = Alarms()
        self.fair = FairShare()
        self.searches: dict[str, Search] = {}
        self.running: dict[str, Search] = {}
        self.queued: dict[str, Search] = {}
        self.out: list[Command] = []
        self.now_s = 0.0
        self.open = False
        self.stale_reports = 0
        self._submitted = 0

    def next_order(self) -> int:
        """Counts the submissions."""
        self._submitted += 1
        return self._submitted

    def tell(self, command: Command) -> None:
        """Give a command."""
        self.out.append(command)

    def index(self, search: Search) -> None:
        """Note in which of the lists a search is now."""
        self.running.pop(search.search_id, None)
        self.queued.pop(search.search_id, None)
        if search.state in HOLDS_SLOT:
            self.running[search.search_id] = search
        elif search.state == SearchState.QUEUED:
            self.queued[search.search_id] = search

    def search(self, search_id: str, doing: str) -> Search:
        """A known search; TransitionError otherwise."""
        if search_id not in self.searches:
            raise TransitionError(f"cannot {doing}: search {search_id} is unknown.", valid=self.searches)
        return self.searches[search_id]

    def trial(self, search: Search, number: int, doing: str) -> Trial:
        """A live trial; TransitionError otherwise."""
        if number in search.trials:
            return search.trials[number]
        story = "it has ended" if number < search.next_trial else "it was never proposed"
        raise TransitionError(f"cannot {doing} trial {search.search_id}/{number}: {story}.")

    def live(self, search_id: str, number: int) -> tuple[Search, Trial] | None:
        """A live trial with its search, None if there is none."""
        search = self.searches.get(search_id)
        trial = search.trials.get(number) if search else None
        return (search, trial) if search is not None and trial is not None else None

    def stale(self, search_id: str) -> None:
        """Count a report that fits nothing."""
        self.stale_reports += 1
        if search_id in self.searches:
            self.searches[search_id].stale_reports += 1
