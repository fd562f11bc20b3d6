"""The process of a controller on a virtual clock: it answers one request at a time, and may keep generations apart."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from xnas_ray.benchmarks.virtual_clock import Clock
from xnas_ray.controllers.base import Controller
from xnas_ray.messages import Candidate, Outcome

MEASURED = "measured"

Request = Outcome | None
"""What the process is asked: to hear an outcome, or (None) for a proposal."""


class Generations:
    """Barriers: a generation is proposed without a look at its own outcomes, which are told together when it is over.

    A generation is full with ``size`` proposals, or earlier when the controller has no more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._asked = 0
        self._ended: list[Outcome] = []
        self._full = False

    @property
    def open(self) -> bool:
        """Whether another proposal belongs to this generation."""
        return not self._full

    def proposed(self, candidate: Candidate | None) -> None:
        """A proposal was made, or refused."""
        self._asked += candidate is not None
        self._full = self._asked > 0 and (candidate is None or self._asked == self._size)

    def end(self, outcome: Outcome) -> list[Outcome]:
        """A trial ended; returns the whole generation in trial order if it is over."""
        self._ended.append(outcome)
        if not self._full or len(self._ended) < self._asked:
            return []
        over, self._ended = sorted(self._ended, key=lambda o: o.trial), []
        self._asked, self._full = 0, False
        return over


class ControllerProcess:
    """The process of the controller: one request at a time, in the order in which they came.

    Args:
        clock: the virtual time.
        controller: what runs in it.
        ask_s: virtual seconds of a proposal, or ``"measured"``.
        generations: barriers, None for none.
        answer: called with every proposal once it is made.
    """

    def __init__(
        self,
        clock: Clock,
        controller: Controller,
        ask_s: float | Literal["measured"],
        generations: Generations | None,
        answer: Callable[[Candidate | None], None],
    ) -> None:
        self.busy_s = 0.0
        self._clock = clock
        self._controller = controller
        self._ask_s = ask_s
        self._generations = generations
        self._answer = answer
        self._requests: deque[Request] = deque()
        self._behind_barrier = 0  # requests for proposals of the next generation
        self._busy = False

    def ask(self, count: int) -> None:
        """Ask for proposals."""
        self._requests.extend([None] * count)
        self._work()

    def tell(self, outcome: Outcome) -> None:
        """Let the controller hear an outcome."""
        if self._generations is None:
            self._requests.append(outcome)
        elif over := self._generations.end(outcome):
            self._requests.extend([*over, *[None] * self._behind_barrier])
            self._behind_barrier = 0
        self._work()

    def _work(self) -> None:
        """Serve requests until there are none, or one takes its time."""
        while self._requests and not self._busy:
            request = self._requests.popleft()
            if request is None and self._generations is not None and not self._generations.open:
                self._behind_barrier += 1
                continue
            self._busy = True  # an answer may bring further requests: they wait for their turn
            candidate, took_s = self._serve(request)
            self.busy_s += took_s
            if took_s > 0:
                self._clock.at(self._clock.now_s + took_s, lambda r=request, c=candidate: self._done(r, c))  # type: ignore[misc]
                return
            self._finish(request, candidate)

    def _done(self, request: Request, candidate: Candidate | None) -> None:
        self._finish(request, candidate)
        self._work()

    def _finish(self, request: Request, candidate: Candidate | None) -> None:
        if request is None:
            self._answer(candidate)
        self._busy = False

    def _serve(self, request: Request) -> tuple[Candidate | None, float]:
        """The proposal, if one was asked for, and how long the request takes."""
        started_s = time.process_time()
        candidate = None
        if request is None:
            candidate = self._controller.propose()
            if self._generations is not None:
                self._generations.proposed(candidate)
        else:
            self._controller.tell(request)
        if self._ask_s == MEASURED:
            return candidate, time.process_time() - started_s
        return candidate, float(self._ask_s) if request is None else 0.0
