"""Nodes and workers: who is free, who fits where. Every query that an event needs is O(1) or O(nodes)."""

from __future__ import annotations

from collections.abc import Iterator

from xnas_ray.messages import FailureKind
from xnas_ray.scheduler.records import EPSILON, Node, Shape, Worker, WorkerState


class Pool:
    """All nodes and workers.

    Args:
        epoch: of the writer; enters the worker ids, so that no two services ever give the same.
    """

    def __init__(self, epoch: int) -> None:
        """Empty."""
        self.nodes: dict[str, Node] = {}
        self.workers: dict[str, Worker] = {}
        self.idle: dict[Shape, dict[str, None]] = {}
        self.single: dict[Shape, dict[str, None]] = {}
        self.count: dict[Shape, int] = {}
        self.total_cpus = 0.0
        self.total_gpus = 0.0
        self.changed = True
        self._epoch = epoch
        self._started = 0

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def join(self, node: Node) -> None:
        """A node arrives, or comes back with other resources."""
        self.nodes[node.node_id] = node
        self._sum()

    def leave(self, node_id: str) -> list[Worker]:
        """A node is gone; returns the workers that it had, still registered."""
        node = self.nodes.pop(node_id, None)
        self._sum()
        return [self.workers[w] for w in sorted(node.workers)] if node else []

    def _sum(self) -> None:
        self.total_cpus = sum(n.cpus for n in self.nodes.values())
        self.total_gpus = sum(n.gpus for n in self.nodes.values())
        self.changed = True

    def share(self, shape: Shape) -> float:
        """Dominant share of the cluster that one worker holds, in (0, 1]."""
        cpu = shape[0] / self.total_cpus if self.total_cpus else 0.0
        gpu = shape[1] / self.total_gpus if self.total_gpus else 0.0
        return max(cpu, gpu, EPSILON)

    def startable(self, now_s: float) -> Iterator[Node]:
        """Nodes on which workers may start, the emptiest first."""
        nodes = [n for n in self.nodes.values() if not n.draining and n.rest_until_s <= now_s]
        return iter(sorted(nodes, key=lambda n: (len(n.workers), n.node_id)))

    # ---- workers ----------------------------------------------------------------------------------------------------

    def start(self, node: Node, shape: Shape, now_s: float) -> Worker:
        """Register a worker that starts on a node where it fits."""
        self._started += 1
        worker = Worker(f"w{self._epoch}-{self._started}", node.node_id, shape, seen_s=now_s)
        worker.gpu = node.take(shape)
        self._register(worker)
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
        if worker.state in (WorkerState.STARTING, WorkerState.READY):
            self.count[worker.shape] -= 1
        self._unlist(worker)
        del self.workers[worker.worker_id]
        node = self.nodes.get(worker.node_id)
        if node is not None:
            node.workers.discard(worker.worker_id)
            node.release(worker.shape, worker.gpu)
        self.changed = True

    def retire(self, worker: Worker, state: WorkerState) -> None:
        """A worker gets no further trial."""
        if worker.state in (WorkerState.STARTING, WorkerState.READY):
            self.count[worker.shape] -= 1
        worker.state = state
        self._unlist(worker)
        self.changed = True

    def kill(self, worker: Worker, kind: FailureKind | None) -> None:
        """A worker is to be killed; what it runs fails as ``kind``."""
        worker.killed_as = kind
        self.retire(worker, WorkerState.STOPPING)

    def list(self, worker: Worker, *, prefetch: bool) -> None:
        """Note whether a ready worker is idle, or holds one trial and (``prefetch``) should hold another."""
        self._unlist(worker)
        if worker.state != WorkerState.READY or len(worker.trials) > 1 or (worker.trials and not prefetch):
            return
        lists = self.single if worker.trials else self.idle
        lists.setdefault(worker.shape, {})[worker.worker_id] = None

    def _unlist(self, worker: Worker) -> None:
        for lists in (self.idle, self.single):
            lists.get(worker.shape, {}).pop(worker.worker_id, None)

    def idle_count(self, shape: Shape) -> int:
        """Ready workers of a shape without a trial."""
        return len(self.idle.get(shape, ()))

    def single_count(self, shape: Shape) -> int:
        """Ready workers of a shape with one trial."""
        return len(self.single.get(shape, ()))
