"""Several processes at once as a Ray Train job: started, waited for, ended, and what the first one says passed on.

Nothing here knows of searches, and nothing imports torch: the head runs jobs too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group

from xnas_ray.errors import StoppedError
from xnas_ray.service.remote import this_node

STOP_POLL_S = 1.0
END_PATIENCE_S = 8.0
"""How long Ray Train may take to end a job by itself; a worker that was asked to stop is killed after 10 s."""

_SCRATCH = "xnas_scratch"
"""In the config of a rank: the folder in which the first one says what it finds."""

NODE_LABEL = "ray.io/node-id"

FOUND, EPOCHS, GROUPS = "found.json", "epochs.jsonl", "groups.txt"

_INHERITED = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Ray would hide all GPUs from processes that ask for none."""


@dataclass(frozen=True)
class Group:
    """The processes of a job.

    Attributes:
        ranks: how many.
        cuda: whether each has a GPU (and they talk by NCCL), or none does (gloo).
        resources: what each rank asks Ray for, such as ``{"GPU": 1}``.
        environment: variables of every rank.
        nodes: Ray's id of the node of each rank; empty where ``resources`` say it.
        restarts: how often all ranks are started anew when one is lost; the loop goes on from its own checkpoint.
    """

    ranks: int
    cuda: bool
    resources: Mapping[str, float]
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: Sequence[str] = ()
    restarts: int = 0

    @classmethod
    def beside(cls, ranks: int, *, cuda: bool) -> Group:
        """A group on this worker's node, on the GPUs that this worker holds."""
        visible = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")} if cuda else {}
        here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
        return cls(ranks, cuda, here, {**_INHERITED, **visible})


def run_ranks(
    loop: Callable[[dict[str, Any]], None],
    config: Mapping[str, Any],
    *,
    group: Group,
    scratch: Path,
    stop_requested: Callable[[], str] = lambda: "",
    on_epoch: Callable[[Mapping[str, float]], None] = lambda record: None,
) -> dict[str, Any]:
    """Run ``loop(config)`` in every rank of a process group, and wait for what ``say_found`` was told by the first.

    A rank that fails more often than the group restarts ends the job, and its exception is raised here. Who starts
    anew goes on from the checkpoint that the first rank wrote after the last epoch.

    Args:
        loop: what a rank runs, importable there; torch's process group is set up.
        config: its argument, picklable.
        group: of which processes.
        scratch: a folder for Ray Train, seen by all nodes of the group; removed in the end.
        stop_requested: asked about once a second; the job is ended when it gives anything but ``""``.
        on_epoch: called with what ``say_epoch`` was told, about once a second.

    Raises:
        StoppedError: it was asked to stop.
        Exception: what a rank raised.
    """
    _free(scratch)  # of a job whose caller was killed
    scratch.mkdir(parents=True, exist_ok=True)
    whole, heard = {**config, _SCRATCH: str(scratch)}, 0
    driver = ray.remote(_fit).options(num_cpus=0, max_retries=0, scheduling_strategy=this_node())
    work = driver.remote(loop, whole, group, str(scratch))
    try:
        while not ray.wait([work], timeout=STOP_POLL_S)[0]:
            heard = _hear(scratch, heard, on_epoch)
            if stop_requested():
                _end(work, scratch)
                raise StoppedError("stopped; its checkpoint is that of the last whole epoch.")
        ray.get(work)
        _hear(scratch, heard, on_epoch)
        told = scratch / FOUND
        return json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _end(work: ray.ObjectRef, scratch: Path) -> None:
    """End a job: its driver is interrupted, so that Ray Train ends the ranks and frees their places.

    A driver that does not listen is killed. Then the places are freed here: what Ray Train leaves behind for that asks
    Ray's dashboard whether the driver lives, and a cluster may have none.
    """
    ray.cancel(work)
    if not ray.wait([work], timeout=END_PATIENCE_S)[0]:
        ray.cancel(work, force=True)
    _free(scratch)


def _free(scratch: Path) -> None:
    """Remove the placement groups that ranks were in, and with them the ranks."""
    path = scratch / GROUPS
    for name in sorted(set(path.read_text(encoding="utf-8").split())) if path.exists() else ():
        group = PlacementGroup(ray.PlacementGroupID.from_hex(name))
        with contextlib.suppress(ray.exceptions.RayError, ValueError):  # one that is gone already
            remove_placement_group(group)
    shutil.rmtree(scratch, ignore_errors=True)


def _placed(loop: Callable[[dict[str, Any]], None], config: dict[str, Any]) -> None:
    """A rank: it notes its placement group, then runs the loop."""
    group = get_current_placement_group()
    if group is not None:
        with (Path(config[_SCRATCH]) / GROUPS).open("a", encoding="utf-8") as file:
            file.write(group.id.hex() + "\n")
    loop(config)


def say_found(config: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Say what a job found: in the first rank, at its end.

    A file, because Ray Train keeps metrics only together with checkpoints, of which it would make copies of its own.

    Args:
        config: what the rank was called with.
        found: JSON values.
    """
    (Path(config[_SCRATCH]) / FOUND).write_text(json.dumps(dict(found)), encoding="utf-8")


def say_epoch(config: Mapping[str, Any], record: Mapping[str, float]) -> None:
    """Say how an epoch ended: in the first rank.

    Args:
        config: what the rank was called with.
        record: finite values by name.
    """
    with (Path(config[_SCRATCH]) / EPOCHS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(record)) + "\n")


def _hear(scratch: Path, heard: int, on_epoch: Callable[[Mapping[str, float]], None]) -> int:
    """Pass on the whole lines from byte ``heard`` on; where the next one begins."""
    path = scratch / EPOCHS
    new = path.read_bytes()[heard:] if path.exists() else b""
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.splitlines():
        on_epoch(json.loads(line))
    return heard + len(whole)


def _fit(loop: Callable[[dict[str, Any]], None], config: dict[str, Any], group: Group, scratch: str) -> None:
    """The driver of the job, in a process of its own: ending it ends the job."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        partial(_placed, loop),
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if group.cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=group.ranks,
            use_gpu="GPU" in group.resources,
            resources_per_worker=dict(group.resources),
            label_selector=[{NODE_LABEL: node} for node in group.nodes] or None,
        ),
        run_config=RunConfig(
            name="job",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=group.restarts),
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", **group.environment}},
        ),
    )
    try:
        result = trainer.fit()
        if result.error is not None:
            raise result.error
    except Exception as error:
        raise _cause(error) from error


def _cause(error: BaseException) -> BaseException:
    """What a rank raised, under Ray's and Ray Train's wrapping; else the error itself."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        return _cause(failures[min(failures)])
    inner = getattr(error, "cause", None)
    return _cause(inner) if isinstance(inner, BaseException) and inner is not error else error
