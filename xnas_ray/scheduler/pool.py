"""All nodes and workers: who is free. Every query that an event needs is O(1)."""

from __future__ import annotations

from xnas_ray.messages import Attempt, FailureKind
from xnas_ray.scheduler.nodes import EPSILON, Node, Shape, Worker, WorkerState


class Pool:
    """All nodes and workers.

    Attributes:
        nodes: by id.
        workers: by id, until they are gone.
        idle: ready workers of a shape without a trial, oldest first.
        partial: ready workers of a shape with trials beside which they can hold another.
        count: workers of a shape that start or are ready.
        claims: ids of nodes that a gang or a shape claims.
        version: grows whenever room may have appeared: something left, ended or was given up.

    Args:
        epoch: of the writer; enters the worker ids, so that no two services ever give the same.
    """

    def __init__(self, epoch: int) -> None:
        """Empty."""
        self.nodes: dict[str, Node] = {}
        self.workers: dict[str, Worker] = {}
        self.idle: dict[Shape, dict[str, None]] = {}
        self.partial: dict[Shape, dict[str, None]] = {}
        self.count: dict[Shape, int] = {}
        self.claims: dict[str, None] = {}
        self.total_cpus = 0.0
        self.total_gpus = 0.0
        self.version = 0
        self._epoch = epoch
        self._started = 0

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def join(self, node: Node) -> None:
        """A node arrives, or comes back with other resources."""
        self.nodes[node.node_id] = node
        self._sum()

    def leave(self, node_id: str) -> list[Worker]:
        """A node is gone; returns the workers that it had, still registered."""
        node = self.nodes.get(node_id)
        if node is None:
            return []
        self.unclaim(node)
        del self.nodes[node_id]
        self._sum()
        return self.workers_of(node)

    def _sum(self) -> None:
        self.total_cpus = sum(n.cpus for n in self.nodes.values())
        self.total_gpus = sum(n.gpus for n in self.nodes.values())
        self.version += 1

    def share(self, shape: Shape) -> float:
        """Dominant share of the cluster that one worker holds, in (0, 1]."""
        cpu = shape[0] / self.total_cpus if self.total_cpus else 0.0
        gpu = shape[1] / self.total_gpus if self.total_gpus else 0.0
        return max(cpu, gpu, EPSILON)

    def open_nodes(self, now_s: float) -> list[Node]:
        """Nodes on which workers may start."""
        return [n for n in self.nodes.values() if not n.draining and n.rest_until_s <= now_s]

    def workers_of(self, node: Node) -> list[Worker]:
        """The workers of a node, by id."""
        return [self.workers[worker_id] for worker_id in sorted(node.workers)]

    # ---- claims -----------------------------------------------------------------------------------------------------

    def claim(self, node: Node, owner: str | Shape, places: int) -> None:
        """Keep (further) places of a node for a gang or a shape."""
        node.claimed_by = owner
        node.claimed_places += places
        self.claims[node.node_id] = None

    def unclaim(self, node: Node) -> None:
        """Nobody waits for a place of the node any more."""
        if node.claimed_by is not None:
            node.claimed_by = None
            node.claimed_places = 0
            self.claims.pop(node.node_id, None)
            self.version += 1

    def claimed(self, shape: Shape) -> int:
        """Places that are kept for workers of a shape."""
        nodes = (self.nodes[node_id] for node_id in self.claims)
        return sum(n.claimed_places for n in nodes if n.claimed_by == shape)

    # ---- workers ----------------------------------------------------------------------------------------------------

    def start(self, node: Node, shape: Shape, now_s: float) -> Worker:
        """Register a worker that starts on a node where it fits."""
        self._started += 1
        worker = Worker(f"w{self._epoch}-{self._started}", node.node_id, shape, seen_s=now_s)
        worker.gpu = node.take(shape)
        self._register(worker)
        if node.claimed_by == shape:
            node.claimed_places -= 1
            if node.claimed_places <= 0:
                self.unclaim(node)
        return worker

    def adopt(self, worker: Worker) -> None:
        """Register a living worker of an earlier service; it may overfill its node until it ends."""
        node = self.nodes[worker.node_id]
        if node.fits(worker.shape):
            worker.gpu = node.take(worker.shape)
        else:
            node.free_cpus -= worker.shape[0]
        self._register(worker)

    def _register(self, worker: Worker) -> None:
        self.workers[worker.worker_id] = worker
        self.nodes[worker.node_id].workers.add(worker.worker_id)
        self.count[worker.shape] = self.count.get(worker.shape, 0) + 1

    def remove(self, worker: Worker) -> None:
        """A worker is gone: its resources are free."""
        self.retire(worker, WorkerState.STOPPING)
        del self.workers[worker.worker_id]
        node = self.nodes.get(worker.node_id)
        if node is not None and worker.worker_id in node.workers:
            node.workers.discard(worker.worker_id)
            node.release(worker.shape, worker.gpu)

    def retire(self, worker: Worker, state: WorkerState) -> None:
        """A worker gets no further trial."""
        if worker.stays:
            self.count[worker.shape] -= 1
        worker.state = state
        self._unlist(worker)
        self.version += 1

    def kill(self, worker: Worker, blamed: tuple[str, int, Attempt] | None, kind: FailureKind | None) -> None:
        """A worker is to be killed, for one of its attempts (which fails as ``kind``) or as a whole."""
        worker.killed = True
        worker.blamed, worker.killed_as = blamed, kind
        self.retire(worker, WorkerState.STOPPING)

    def list(self, worker: Worker, *, more: bool) -> None:
        """Note whether a ready worker is idle, or holds trials and should hold one ``more``."""
        self._unlist(worker)
        if worker.state != WorkerState.READY or (worker.trials and not more):
            return
        lists = self.partial if worker.trials else self.idle
        lists.setdefault(worker.shape, {})[worker.worker_id] = None

    def _unlist(self, worker: Worker) -> None:
        for lists in (self.idle, self.partial):
            of_shape = lists.get(worker.shape)
            if of_shape:
                of_shape.pop(worker.worker_id, None)

    def idle_count(self, shape: Shape) -> int:
        """Ready workers of a shape without a trial."""
        return len(self.idle.get(shape, ()))

    def partial_count(self, shape: Shape) -> int:
        """Ready workers of a shape with trials and room for another."""
        return len(self.partial.get(shape, ()))
