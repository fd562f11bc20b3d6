"""A service that asks for nodes itself, with a Slurm and a head that are pretended."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.commands.slurm_follow import Follower
from xnas_ray.errors import ServiceError, SlurmError
from xnas_ray.slurm import jobs
from xnas_ray.slurm.elastic import ElasticPolicy
from xnas_ray.slurm.jobs import Job
from xnas_ray.slurm.parameters import SlurmParameters
from xnas_ray.slurm.records import JobRecord, remember
from xnas_ray.slurm.scaling import Standing
from xnas_ray.slurm.script import Place


def job(job_id: str, nodes: int = 1) -> Job:
    return Job(job_id, "xnas", "RUNNING", "main", "0:01", "4:00:00", nodes, "n1")


@pytest.fixture
def world(root, monkeypatch, fake_head):
    """A service of two nodes with four CPUs each; ``look(now_s, wanted)`` gives the nodes that it then has."""

    class World:
        now_s, refusing, living, looks = 0.0, False, [job("101", 2)], 0

        def submit(self, script):
            if self.refusing:
                raise SlurmError("Slurm refuses the job: not from here.")
            array = next(line for line in script.splitlines() if line.startswith("#SBATCH --array=0-"))
            number = str(100 + len(list(root.glob("slurm/*.json"))) + 1)
            self.living = [*self.living, *(job(f"{number}_{i}") for i in range(int(array.rpartition("-")[2]) + 1))]
            return number

        def queued(self, numbers=None):
            self.looks += 1
            return self.living

        def cancel(self, leaving, *, gently):
            assert gently
            self.living = [j for j in self.living if j not in leaving]

        def look(self, now_s, wanted):
            self.now_s = now_s
            fake_head.answers["demand"] = wanted if isinstance(wanted, Exception) else [(2.0, 0.0, wanted)]
            self.follower.look(fake_head)
            return sum(j.nodes for j in self.living)

    found = World()
    remember(root, JobRecord("101", "service", "xnas", 1.0, 2), "script")
    for name in ("submit", "queued", "cancel"):
        monkeypatch.setattr(jobs, name, getattr(found, name))
    monkeypatch.setenv("SLURM_JOB_ID", "101")
    order = Standing(
        ElasticPolicy(min=1, max=5, patience_s=100, grow_s=0, every_s=10),
        SlurmParameters(nodes=2, cpus_per_task=4),
        Place(root=root, python=Path("/usr/bin/python3")),
    )
    found.follower = Follower(order, clock=lambda: found.now_s)
    return found


def test_nodes_follow_the_demand(world, capsys):
    assert world.look(0, 4) == 2
    assert world.look(10, 7) == 4
    assert world.look(20, None) == 5, "any number could be used: as many as there may be"
    assert world.look(30, 5) == 5 and world.look(120, 2) == 5
    assert world.look(130, 1) == 3, "the most that was wanted in the last 100 s"
    assert [world.look(now_s, 0) for now_s in (140, 240)] == [3, 2], "its own nodes stay"
    printed = capsys.readouterr().out
    assert "asking for 2 more nodes: 4 could be used, there are 2" in printed and "job 102" in printed
    assert "letting 102_1 103_0 go: 3 nodes are enough" in printed


def test_looks_are_rare(world):
    for now_s in range(30):
        world.look(now_s, 4)
    assert world.looks == 3


def test_where_jobs_may_not_submit_jobs_it_gives_up(world, capsys):
    world.refusing = True
    assert [world.look(now_s, 9) for now_s in (0, 10, 20, 30, 40)] == [2] * 5, world.living
    said = capsys.readouterr().err
    assert said.count("not from here") == 3 and said.count("xnas slurm scale") == 1
    world.refusing = False
    assert world.look(50, 9) == 2


def test_a_head_that_does_not_answer_is_asked_again(world, capsys):
    for now_s in range(0, 60, 10):
        assert world.look(now_s, ServiceError("it is being restarted.")) == 2
    assert world.look(60, 9) == 5 and "restarted" in capsys.readouterr().err


def test_a_job_that_slurm_is_ending_asks_for_nothing(world):
    world.living = []
    assert world.look(0, 9) == 0
