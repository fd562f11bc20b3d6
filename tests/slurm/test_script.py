"""The text of the scripts. ``XNAS_WRITE_GOLDEN=1 pytest tests/slurm/test_script.py`` writes the golden files anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.slurm.parameters import SlurmParameters
from xnas_ray.slurm.script import Place, SearchJob, directive_quote, search_script, service_script, worker_script

GOLDEN = Path(__file__).parent / "golden"
SLURM = Path(__file__).parents[2] / "slurm"
PLACE = Place(root=Path("/shared/lab/results"), python=Path("/shared/venv/bin/python"))
EXAMPLE_PLACE = Place(root=Path("/path/to/results"), python=Path("/path/to/venv/bin/python"))
PLAIN = SlurmParameters(nodes=2, cpus_per_task=16, gpus_per_node=4, mem_gb=64, partition="gpu")
RICH = SlurmParameters(
    job_name="nas",
    nodes=2,
    gpus_per_node=8,
    gpu_type="a100",
    mem_gb=1.5,
    timeout_min=1440,
    account="it's",
    qos="high prio",
    reservation="MAINTENANCE #1",
    reservation_nodes=16,
    constraint="[rack1|rack2]&nvme",
    exclusive=True,
    signal_s=300,
    max_timeouts=100,
    environment="nas",
    setup=("module load cuda/12.4", "export DATA='/a b'"),
    extra_directives=("--mail-type=END", "--comment=a \\ b # c", "--contiguous"),
    skip_directives=("mem", "cpus-per-task"),
    interface="ib0",
    umask="027",
    dashboard=False,
)
RICH_PLACE = Place(
    root=Path("/shared/it's 100% ours"), python=Path("/usr/bin/python3"), profile=Path("/shared/a b/slurm.toml")
)
SEARCH = SearchJob(
    spec='{"name":"$(touch evil) it\'s","task":"digits"}', task_hash="0f" * 16, key="slurm-01JD0000000000000000000000"
)
EXAMPLES = {
    "service.sbatch": service_script(PLAIN, EXAMPLE_PLACE),
    "worker.sbatch": worker_script(PLAIN, EXAMPLE_PLACE, count=2),
}
SCRIPTS = {
    "service": service_script(PLAIN, PLACE),
    "service_rich": service_script(RICH, RICH_PLACE),
    "search": search_script(PLAIN, PLACE, SEARCH),
    "worker": worker_script(SlurmParameters(environment="/shared/my venv"), PLACE, count=4),
}


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


FILES = {GOLDEN / f"{name}.sh": text for name, text in SCRIPTS.items()} | {SLURM / n: t for n, t in EXAMPLES.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_golden(path):
    if os.environ.get("XNAS_WRITE_GOLDEN"):
        path.write_text(FILES[path], encoding="utf-8")
    assert FILES[path] == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_is_sound(name, tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(SCRIPTS[name])
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; bash -n was content")
    # SC1091: the activation script is not here.
    done = subprocess.run(
        ["shellcheck", "--severity=warning", "--exclude=SC1091", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_directives_come_before_the_first_command():
    lines = SCRIPTS["service_rich"].splitlines()
    assert lines[0] == "#!/bin/bash"
    last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last + 1])
    assert next(line for line in lines[last + 1 :] if line) == "umask 027"


def test_directives_say_what_the_parameters_say():
    plain, rich = directives(SCRIPTS["service"]), directives(SCRIPTS["service_rich"])
    assert "--job-name=xnas-service" in plain and "--nodes=2" in plain and "--mem=65536M" in plain
    assert "--gpus-per-node=4" in plain and "--gpus-per-node=a100:8" in rich and "--nodes=16" in rich
    assert not [d for d in rich if d.startswith(("--mem", "--cpus-per-task"))]
    assert "--exclusive" in rich and "--exclusive" not in plain and "--contiguous" in rich
    assert "--signal=B:USR2@300" in rich and "--requeue" in rich and "--open-mode=append" in rich
    assert rich[-3:] == ["--mail-type=END", "--comment='a \\\\ b # c'", "--contiguous"]
    assert "--output='/shared/it'\"'\"'s 100%% ours/slurm/%j.log'" in rich
    assert "--account='it'\"'\"'s'" in rich


def test_workers_are_an_array_of_single_nodes():
    found = directives(SCRIPTS["worker"])
    assert "--array=0-3" in found and "--nodes=1" in found and "--output=/shared/lab/results/slurm/%A_%a.log" in found
    with pytest.raises(SpecError):
        worker_script(PLAIN, PLACE, count=0)


def test_environments():
    assert 'export PATH=/shared/venv/bin:"$PATH"' in SCRIPTS["service"]
    assert "conda activate nas" in SCRIPTS["service_rich"]
    assert "source '/shared/my venv/bin/activate'" in SCRIPTS["worker"]
    nothing = service_script(SlurmParameters(environment="none"), PLACE)
    assert "activate" not in nothing and "export PATH=" not in nothing


@pytest.mark.parametrize("root", ["results", "/a\nb", "/a\\b"])
def test_paths_that_slurm_would_not_take(root):
    with pytest.raises(SpecError):
        Place(root=Path(root), python=Path("/bin/python"))


def as_sbatch_reads(text: str) -> str:
    """A value as Slurm's reader takes it from a line: what its source does, in Python (tried with 22.05)."""
    value, quote, i = "", "", 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text):
            value, i = value + text[i + 1], i + 1
        elif quote:
            quote, value = ("", value) if c == quote else (quote, value + c)
        elif c in "'\"":
            quote = c
        elif c in " \t#":
            break
        else:
            value += c
        i += 1
    return value


@given(st.text(st.characters(blacklist_categories=("C", "Z"), whitelist_characters=" '\"\\#$`%"), max_size=20))
def test_directives_are_read_back_as_they_were(value):
    assert as_sbatch_reads(directive_quote(value)) == value
