from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnas_ray.errors import SpecError
from xnas_ray.slurm.elastic import ElasticPolicy
from xnas_ray.slurm.parameters import SlurmParameters, describe, directive, resolve_parameters

PROFILE = Path(__file__).parents[2] / "cluster" / "slurm.toml"


def resolved(flags=None, environment=None, profile=None):
    return resolve_parameters(flags or {}, environment=environment or {}, profile=profile)


@pytest.fixture
def profile(tmp_path):
    """Writes a profile."""

    def write(text: str) -> Path:
        path = tmp_path / "p.toml"
        path.write_text(text)
        return path

    return write


# ---- precedence ------------------------------------------------------------------------------------------------------


def test_flag_beats_environment_beats_profile_beats_default(profile):
    path = profile('[slurm]\nnodes = 2\npartition = "file"\nqos = "file"\n[head]\nhosts = 2\n')
    variables = {"XNAS_SLURM_PARTITION": "variable", "XNAS_SLURM_QOS": "variable", "XNAS_STORE": "x"}
    found = resolved({"qos": "flag", "account": None, "setup": []}, variables, path)
    p = found.parameters
    assert (p.nodes, p.partition, p.qos, p.account) == (2, "variable", "flag", "")
    sources = found.sources
    assert [sources[n] for n in ("nodes", "partition", "qos", "account")] == [
        str(path),
        "environment",
        "flag",
        "default",
    ]
    assert ("partition", "variable", "environment") in found.rows() and (
        "exclusive",
        "false",
        "default",
    ) in found.rows()


def test_the_profile_of_the_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolved().profile is None
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/slurm.toml").write_text("[slurm]\nnodes = 7\n")
    assert resolved().parameters.nodes == 7 and resolved().sources["nodes"] == "cluster/slurm.toml"


def test_values_of_the_environment_are_text(profile):
    found = resolved(
        {"nodes": "3", "exclusive": True},
        {
            "XNAS_SLURM_MEM_GB": "1.5",
            "XNAS_SLURM_DASHBOARD": "no",
            "XNAS_SLURM_SETUP": "module load a\nmodule load b",
            "XNAS_SLURM_QOS": "",
        },
        profile("[slurm]\nmem_gb = 3\ntimeout_min = 60\n"),
    ).parameters
    assert (found.nodes, found.exclusive, found.mem_gb, found.dashboard) == (3, True, 1.5, False)
    assert found.setup == ("module load a", "module load b")


def test_the_shipped_profile_says_the_defaults():
    table = tomllib.loads(PROFILE.read_text())["slurm"]
    assert list(table) == [f.name for f in fields(SlurmParameters)], "every parameter, in order"
    assert resolved(profile=PROFILE).parameters == SlurmParameters()


def test_the_shipped_profile_is_one_of_the_service():
    from xnas_ray.service.settings import HeadSettings

    assert HeadSettings.from_toml(PROFILE).nodes_every_s == 2.0


def test_an_environments_path_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolved({"environment": "./venv"}).parameters.environment == str(tmp_path / "venv")
    assert resolved({"environment": "nas"}).parameters.environment == "nas"


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        ({"partitoin": "x"}, {}, "Did you mean 'partition'?"),
        ({}, {"XNAS_SLURM_NODE": "2"}, "Did you mean 'nodes'?"),
        ({"nodes": "many"}, {}, "slurm.nodes: must be a whole number (flag), got 'many'"),
        ({}, {"XNAS_SLURM_MEM_GB": "nan"}, "slurm.mem_gb: must be a number (environment)"),
        ({}, {"XNAS_SLURM_EXCLUSIVE": "maybe"}, "slurm.exclusive: must be a true|false"),
    ],
)
def test_names_and_kinds(flags, environment, text):
    with pytest.raises(SpecError) as caught:
        resolved(flags, environment)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slurm]\nnodes = true\n", "must be a whole number"),
        ("[slurm]\nnodes = 1.0\n", "must be a whole number"),
        ('[slurm]\nsetup = "one line"\n', "must be a list"),
        ("[slurm]\nsetup = [1]\n", "must be a list"),
        ("slurm = 3\n", "must be a table"),
        ("[slurm\n", "cannot read the profile"),
        ("[slurm]\nmem_gb = nan\n", "must be from 0"),
    ],
)
def test_profiles(profile, text, message):
    with pytest.raises(SpecError, match=message):
        resolved(profile=profile(text))


def test_a_policy_stands_beside_the_parameters(profile):
    found = resolved(profile=profile("[slurm]\nnodes = 2\n[slurm.elastic]\nmin = 2\nmax = 6\n"))
    assert found.elastic == ElasticPolicy(min=2, max=6) and found.parameters.nodes == 2
    assert found.rows()[-1][:2] == ("elastic", "min = 2, max = 6, patience_s = 300, grow_s = 10, every_s = 30")
    assert resolved().elastic is None and resolved().rows()[-1][0] == "stagger_s"
    with pytest.raises(SpecError, match="patience_s"):
        resolved(profile=profile("[slurm.elastic]\nmax = 6\npatience = 3\n"))
    with pytest.raises(SpecError, match=r"slurm\.elastic"):
        resolved(environment={"XNAS_SLURM_ELASTIC": "3"})


def test_the_policy_of_the_shipped_profile_says_the_defaults(profile):
    lines = [line.removeprefix("# ") for line in PROFILE.read_text().splitlines()]
    table = lines[lines.index("[slurm.elastic]") :]
    text = "\n".join(table[: table.index("")])
    assert resolved(profile=profile(text)).elastic == ElasticPolicy(max=16)


def test_a_profile_that_is_missing():
    with pytest.raises(SpecError, match="cannot read the profile"):
        resolved(profile=Path("/nowhere.toml"))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"nodes": 0}, "nodes"),
        ({"partition": "a\n#SBATCH --qos=b"}, "partition"),
        ({"account": "a\x1b[31m"}, "account"),
        ({"constraint": " a"}, "constraint"),
        ({"reservation": "x" * 201}, "reservation"),
        ({"job_name": "a b"}, "job_name"),
        ({"umask": "9"}, "umask"),
        ({"umask": "077; rm"}, "umask"),
        ({"interface": "ib0; x"}, "interface"),
        ({"temporary_root": "/tmp/" + "x" * 30}, "temporary_root"),
        ({"temporary_root": "tmp"}, "temporary_root"),
        ({"temporary_root": "/tmp/../$HOME"}, "temporary_root"),
        ({"extra_directives": ("mail-user=a",)}, "extra_directives"),
        ({"extra_directives": ("--mail-user=a\n--qos=b",)}, "extra_directives"),
        ({"extra_directives": ("--time=3",)}, "extra_directives"),
        ({"skip_directives": ("output",)}, "skip_directives"),
        ({"setup": ("a\0b",)}, "setup"),
        ({"reservation_nodes": 2}, "reservation_nodes"),
        ({"gpu_type": "a100"}, "gpu_type"),
        ({"timeout_min": 3, "signal_s": 120}, "signal_s"),
    ],
)
def test_values_out_of_range(values, field):
    with pytest.raises(SpecError) as caught:
        SlurmParameters(**values)
    assert caught.value.field == f"slurm.{field}"


@given(st.text(max_size=30))
def test_no_text_leaves_its_line(text):
    """Whatever is accepted as a value stays one line without control characters."""
    try:
        kept = SlurmParameters(partition=text).partition
    except SpecError:
        return
    assert kept == text and len(text.splitlines()) <= 1 and all(c.isprintable() for c in text)


def test_a_skipped_directive_may_be_given_otherwise():
    p = SlurmParameters(skip_directives=("--mem",), extra_directives=("--mem=0", "--mail-type=END"))
    assert [directive(text) for text in p.extra_directives] == [("mem", "0"), ("mail-type", "END")]
    assert directive("--contiguous") == ("contiguous", None)


def test_nodes_of_a_reservation():
    assert SlurmParameters(nodes=2).node_count == 2
    assert SlurmParameters(nodes=2, reservation="r", reservation_nodes=5).node_count == 5


def test_every_parameter_is_described():
    assert [name for name, *_ in describe()] == [f.name for f in fields(SlurmParameters)]
    assert all(text and kind for _, kind, _, text in describe())
