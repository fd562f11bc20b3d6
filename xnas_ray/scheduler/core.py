"""The state that all parts of the scheduler share, and the commands that they have given so far."""

from __future__ import annotations

from collections.abc import Iterator

from xnas_ray.errors import TransitionError
from xnas_ray.messages import Command, SearchState
from xnas_ray.scheduler.alarms import Alarms
from xnas_ray.scheduler.config import SchedulerConfig
from xnas_ray.scheduler.fair_share import FairShare
from xnas_ray.scheduler.pool import Pool
from xnas_ray.scheduler.records import Search, Trial


class Core:
    """Facts, and the commands of the event that is being handled."""

    def __init__(self, config: SchedulerConfig, epoch: int) -> None:
        """Nothing known; closed until the first tick."""
        self.config = config
        self.epoch = epoch
        self.pool = Pool(epoch)
        self.alarms = Alarms()
        self.fair = FairShare()
        self.searches: dict[str, Search] = {}
        self.out: list[Command] = []
        self.now_s = 0.0
        self.open = False
        self.stale_reports = 0

    def tell(self, command: Command) -> None:
        """Give a command."""
        self.out.append(command)

    def search(self, search_id: str, doing: str) -> Search:
        """A known search; TransitionError otherwise."""
        if search_id not in self.searches:
            raise TransitionError(f"cannot {doing}: search {search_id} is unknown.", valid=self.searches)
        return self.searches[search_id]

    def trial(self, search: Search, number: int, doing: str) -> Trial:
        """A live trial; TransitionError with its story otherwise."""
        if number in search.trials:
            return search.trials[number]
        story = "it has ended" if number < search.next_trial else "it was never proposed"
        raise TransitionError(f"cannot {doing} trial {search.search_id}/{number}: {story}.")

    def running(self) -> Iterator[Search]:
        """Searches that hold a running slot."""
        return (s for s in self.searches.values() if s.state in (SearchState.RUNNING, SearchState.DRAINING))
