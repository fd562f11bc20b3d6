"""A store that cannot be written for want of space: searches pause for it, and go on when there is some again."""

from __future__ import annotations

from functools import partial

from xnas_ray import messages as m
from xnas_ray.messages import SearchState
from xnas_ray.service.engine import Engine

NO_SPACE = "the store cannot be written"
"""How the reason of such a pause begins; a head that starts takes up what one before it has paused for this reason."""


class FullDisk:
    """Pauses searches while the disk is full.

    Args:
        engine: has the searches.
    """

    def __init__(self, engine: Engine) -> None:
        """There is space."""
        self._engine = engine
        self._paused: set[str] = set()

    def pause(self, message: str) -> None:
        """The disk is full: pause before anything is thrown away; what was measured waits in memory."""
        for view in self._engine.scheduler.searches():
            if view.state in (SearchState.RUNNING, SearchState.QUEUED):
                self._paused.add(view.search_id)
                reason = f"{NO_SPACE}: {message}"
                self._engine.post(partial(m.PauseRequested, search_id=view.search_id, reason=reason))

    def go_on(self) -> None:
        """There is space again: searches that were paused for the lack of it go on."""
        for search_id in sorted(self._paused):
            self._engine.post(partial(m.ResumeRequested, search_id=search_id))
        self._paused.clear()
