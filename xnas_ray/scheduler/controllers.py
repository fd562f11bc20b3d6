"""Controllers as the scheduler sees them: whether they can be asked, and what they answer."""

from __future__ import annotations

from xnas_ray import messages as m
from xnas_ray.errors import TransitionError
from xnas_ray.messages import SearchState
from xnas_ray.scheduler.core import Core
from xnas_ray.scheduler.records import Door, Search
from xnas_ray.scheduler.searches import Searches
from xnas_ray.scheduler.trials import Trials


class Controllers:
    """Handles what hosts of controllers report. What they say of a search that is unknown or over comes too late."""

    def __init__(self, core: Core, trials: Trials, searches: Searches) -> None:
        """Work on the shared state."""
        self.core = core
        self.trials = trials
        self.searches = searches

    def ready(self, event: m.ControllerReady) -> None:
        """A controller is constructed and has replayed every known trial."""
        search = self.core.searches.get(event.search_id)
        if search is not None and search.controller == Door.OPENING:
            search.controller = Door.READY

    def lost(self, event: m.ControllerLost) -> None:
        """The process of a controller died; it is opened again as soon as something will be asked of it."""
        search = self.core.searches.get(event.search_id)
        if search is None or search.controller in (Door.CLOSED, Door.LOST):
            return
        self._forget_questions(search)
        search.exhausted = False
        search.controller = Door.LOST
        budget_drains = search.state == SearchState.DRAINING and search.ending is None  # it still has to explain
        if search.state == SearchState.RUNNING or budget_drains:
            search.controller = Door.OPENING
            self.core.tell(m.OpenController(event.search_id))

    def failed(self, event: m.ControllerFailed) -> None:
        """A controller raised: its search fails."""
        search = self.core.searches.get(event.search_id)
        if search is None or search.state.ended or search.controller in (Door.CLOSED, Door.LOST):
            return
        self._forget_questions(search)
        self.searches.end(search, SearchState.FAILED, f"the controller failed: {event.reason}")

    @staticmethod
    def _forget_questions(search: Search) -> None:
        search.outstanding = 0
        search.asked_at.clear()

    def proposed(self, event: m.Proposed) -> None:
        """A proposal arrived."""
        search = self.core.search(event.search_id, "propose for")
        if search.outstanding == 0:
            raise TransitionError(
                f"search {search.search_id}: nobody asked for proposal {event.trial}; the search is {search.state} and "
                f"its controller {search.controller}."
            )
        if event.trial != search.next_trial:
            raise TransitionError(
                f"search {search.search_id}: proposal {event.trial} is out of turn, expected {search.next_trial}."
            )
        self.trials.propose(search, event.trial, event.reusable)

    def refused(self, event: m.ProposalRefused) -> None:
        """A controller has no candidate until it is told something."""
        search = self.core.searches.get(event.search_id)
        if search is None or search.outstanding == 0:
            return
        search.outstanding -= 1
        _, told = search.asked_at.popleft()
        search.exhausted = told == search.told  # otherwise it answers for a past: ask again
