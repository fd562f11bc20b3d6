"""A service that asks for nodes itself, from inside its job, by the same code as ``xnas slurm scale``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from xnas_ray.commands.console import note, say
from xnas_ray.errors import SlurmError, XnasError
from xnas_ray.slurm.elastic import Wish, desired_nodes, nodes_for
from xnas_ray.slurm.scaling import Standing, add_nodes, jobs_of, let_go, plan_change

if TYPE_CHECKING:
    from xnas_ray.service.connection import Service

MAX_REFUSALS = 3


class Follower:
    """Keeps the number of nodes where the policy wants it.

    A site may forbid jobs to submit jobs: after three refusals in a row nothing is asked for any more.

    Args:
        order: policy, parameters and place.
        clock: seconds that only go forward.
    """

    def __init__(self, order: Standing, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at the first occasion."""
        self._order = order
        self._clock = clock
        self._next_s = -math.inf
        self._wish = Wish()
        self._refusals = 0

    def look(self, service: Service) -> None:
        """Ask the head what its searches could use and act on it, if it is time to."""
        now_s = self._clock()
        if now_s < self._next_s or self._refusals >= MAX_REFUSALS:
            return
        self._next_s = now_s + self._order.policy.every_s
        try:
            self._follow(service, now_s)
        except XnasError as error:  # of the head, the store, or Slurm: the next look may find them well
            note(str(error))

    def _follow(self, service: Service, now_s: float) -> None:
        order = self._order
        found = jobs_of(order.place.root)
        own = next((job.nodes for job in found.service if job.job_id == os.environ.get("SLURM_JOB_ID")), None)
        if own is None:  # Slurm is about to end this job
            return
        shape = (float(order.parameters.cpus_per_task), float(order.parameters.gpus_per_node))
        demand = [((cpus, gpus), math.inf if count is None else count) for cpus, gpus, count in service.call("demand")]
        wanted = max(own, nodes_for(demand, shape, order.policy.max))
        nodes = own + len(found.staying)
        target, self._wish = desired_nodes(order.policy, wanted, nodes, now_s, self._wish)
        change = plan_change(found, max(own, target))
        if change.missing:
            say(f"asking for {change.missing} more nodes: {wanted} could be used, there are {nodes}")
            self._add(change.missing)
        elif change.leaving:
            say(f"letting {' '.join(job.job_id for job in change.leaving)} go: {target} nodes are enough")
            let_go(order.place.root, change.leaving)

    def _add(self, count: int) -> None:
        try:
            say(f"job {add_nodes(self._order.place, self._order.parameters, count)}")
            self._refusals = 0
        except SlurmError as error:
            self._refusals += 1
            note(str(error))
            if self._refusals == MAX_REFUSALS:
                note("the number of nodes is yours to change from now on: xnas slurm scale NODES")
