"""More and fewer nodes, with a Slurm that is pretended."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.errors import SlurmError, SpecError
from xnas_ray.slurm import jobs, scaling
from xnas_ray.slurm.elastic import ElasticPolicy
from xnas_ray.slurm.jobs import Job
from xnas_ray.slurm.parameters import SlurmParameters
from xnas_ray.slurm.records import JobRecord, recorded, remember
from xnas_ray.slurm.scaling import Change, StoreJobs, plan_change


def job(job_id: str, state: str = "RUNNING", nodes: int = 1) -> Job:
    return Job(job_id, "xnas", state, "main", "0:01", "4:00:00", nodes, "n1")


SERVICE = job("101", nodes=2)
WORKERS = [job("102_0"), job("102_2", "PENDING"), job("102_10"), job("103_0")]


def found(*, workers: list[Job] = WORKERS, leaving: tuple[str, ...] = ()) -> StoreJobs:
    return StoreJobs([SERVICE], [], workers, frozenset(leaving))


@pytest.mark.parametrize(
    ("nodes", "leaving", "missing", "go"),
    [
        (6, (), 0, ()),
        (8, (), 2, ()),
        (5, (), 0, ("102_2",)),
        (4, (), 0, ("103_0", "102_2")),
        (2, (), 0, ("102_0", "102_10", "103_0", "102_2")),
        (6, ("103_0",), 1, ()),
        (5, ("103_0",), 0, ()),
        (4, ("103_0",), 0, ("102_2",)),
    ],
)
def test_plan(nodes, leaving, missing, go):
    change = plan_change(found(leaving=leaving), nodes)
    assert (change.missing, tuple(job.job_id for job in change.leaving)) == (missing, go)
    if go:
        rest = [job for job in WORKERS if job.job_id not in (*go, *leaving)]
        assert plan_change(found(workers=rest), nodes) == Change(), "nothing is left to do"


def test_what_cannot_be():
    with pytest.raises(SlurmError):
        plan_change(StoreJobs([], [], WORKERS), 3)
    with pytest.raises(SpecError, match="own job has 2"):
        plan_change(found(), 1)


@pytest.fixture
def slurm(monkeypatch):
    """Living jobs, and what was submitted and cancelled."""
    played = {"living": [SERVICE, *WORKERS], "scripts": [], "cancelled": []}
    monkeypatch.setattr(jobs, "queued", lambda numbers=None: [j for j in played["living"] if j.number in set(numbers)])
    monkeypatch.setattr(jobs, "submit", lambda script: played["scripts"].append(script) or "104")
    monkeypatch.setattr(jobs, "cancel", lambda found, *, gently: played["cancelled"].append((list(found), gently)))
    return played


def test_who_was_told_to_leave_is_not_counted_any_more(slurm, root):
    for number, role in (("101", "service"), ("102", "worker"), ("103", "worker")):
        remember(root, JobRecord(number, role, "xnas", 1.0, 1), "script")
    first = scaling.jobs_of(root)
    assert first.staying == first.workers == WORKERS and first.all[-1] == SERVICE
    change = plan_change(first, 4)
    scaling.let_go(root, change.leaving)
    assert slurm["cancelled"] == [([WORKERS[3], WORKERS[1]], True)]
    second = scaling.jobs_of(root)
    assert second.leaving == {"103_0"}, "what still waited is cancelled at once"
    assert (root / "slurm/103_0/leaving").exists() and not (root / "slurm/102_2").exists()


def test_a_service_is_told_by_which_rule_it_asks_for_nodes(slurm, root):
    place = scaling.Place(root=root, python=Path("/usr/bin/python3"))
    parameters = SlurmParameters(nodes=2, gpus_per_node=3, setup=("module load a", "x"), mem_gb=1.5)
    policy = ElasticPolicy(min=2, max=5)
    scaling.submit_recorded(root, "service", "text", parameters, place=place, elastic=policy)
    order = scaling.standing_order(root, "104")
    assert order == scaling.Standing(policy, parameters, place)
    assert scaling.standing_order(root, "105") is None
    assert scaling.add_nodes(order.place, order.parameters, 3) == "104"
    assert "#SBATCH --array=0-2\n" in slurm["scripts"][-1] and "--gpus-per-node=3\n" in slurm["scripts"][-1]


def test_without_a_policy_there_is_no_order(slurm, root):
    scaling.submit_recorded(root, "service", "text", SlurmParameters(nodes=4))
    assert scaling.standing_order(root, "104") is None
    assert [(r.role, r.nodes, dict(r.parameters)) for r in recorded(root)] == [("service", 4, {})]
