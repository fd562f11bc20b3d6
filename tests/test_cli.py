"""The command line as a whole: help, errors, flags, steering a service that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xnas_ray import cli
from xnas_ray.commands import flags_table
from xnas_ray.commands.application import app
from xnas_ray.errors import SearchNotFoundError, ServiceError, TransitionError
from xnas_ray.messages import PROTOCOL_VERSION
from xnas_ray.spec import spec_fields
from xnas_ray.spec_flags import SPEC_FLAGS

COMMANDS = [
    *("run", "submit", "list", "show", "watch", "wait", "pause", "resume", "cancel", "extend"),
    *("results", "best", "export", "verify", "gc", "finalize", "design", "explain", "similarities"),
    *("latency-table", "report", "logs", "validate", "spaces", "controllers", "tasks", "doctor", "table", "slurm"),
]
GROUPS = [("table",), ("slurm",)]
SUBCOMMANDS = [("table", "import"), *(("slurm", c) for c in ("up", "submit", "scale", "status", "down", "logs"))]


# ---- help -----------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_in_order():
    # In a process of its own: commands are listed in the order in which their modules are imported.
    printed = subprocess.run([sys.executable, "-m", "xnas_ray", "--help"], capture_output=True, text=True, check=True)
    lines = printed.stdout.split("Commands:")[1].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.strip()][: len(COMMANDS)] == COMMANDS


def test_no_arguments_show_help(xnas):
    assert xnas().out == xnas("--help").out


@pytest.mark.parametrize("command", [*((c,) for c in COMMANDS), *SUBCOMMANDS])
def test_every_command_explains_itself(xnas, command):
    printed = xnas(*command, "--help")
    assert printed.code == 0 and printed.err == ""
    assert printed.out.startswith(f"Usage: xnas {' '.join(command)}")
    if command not in GROUPS:
        assert f"Examples:\n    xnas {' '.join(command)}" in printed.out
        assert "--debug" in printed.out


def test_short_help_is_not_cut(xnas):
    assert "..." not in xnas("--help").out.split("Commands:")[1]


def test_version(xnas):
    import xnas_ray

    assert xnas("--version").out == f"xnas-ray {xnas_ray.__version__}\n"


def test_help_imports_nothing_heavy():
    heavy = "torch ray pandas pyarrow pydantic numpy rich xnas_ray.messages xnas_ray.spec"
    code = (
        "import sys; from xnas_ray.cli import execute; execute(['--help']); execute(['--version']);"
        f"found = [m for m in {heavy.split()!r} if m in sys.modules]; assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---- flags ----------------------------------------------------------------------------------------------------------


def test_flags_table_is_that_of_the_specification():
    assert flags_table.TARGET.read_text(encoding="utf-8") == flags_table.render()
    expected = [(name, kind, text) for name, kind, _, text in spec_fields() if name != "schema_version"]
    assert [(f.name, f.kind, f.help) for f in SPEC_FLAGS] == expected


def test_flag_names_are_unique():
    names = [n for f in SPEC_FLAGS for n in (f.name, f.alias) if n]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("command", ["run", "submit", "validate"])
def test_every_setting_has_a_flag(xnas, command):
    shown = xnas(command, "--help").out
    for flag in SPEC_FLAGS:
        assert f"--{flag.name}" in shown
        if flag.alias:
            assert f"--{flag.alias.replace('_', '-')}" in shown


def test_flags_win_over_file_over_problem_over_default(xnas, archive, tmp_path):
    import json

    spec = tmp_path / "spec.toml"
    spec.write_text(f'task = "{archive.task}"\npriority = 2.0\nseed = 1\n[budget]\ntrials = 5\n[recipe]\nlr = 0.2\n')
    arguments = (
        "--trials 9 --set priority=3 --hard --recipe lr=0.4 --recipe augment=['cutout'] --controller "
        "regularized_evolution --controller.params population=7 --objectives flops --objectives val_accuracy"
    )
    printed = xnas("validate", spec, "--json", *arguments.split())
    assert printed.code == 0, printed.err
    resolved = json.loads(printed.out)["spec"]
    assert resolved["budget"] == {"trials": 9, "gpu_hours": None, "wall_clock": None, "hard": True}
    assert (resolved["priority"], resolved["seed"], resolved["fidelity"]) == (3.0, 1, 1)
    assert (resolved["recipe"]["lr"], resolved["recipe"]["augment"]) == (0.4, ["cutout"])
    assert resolved["controller"] == {"name": "regularized_evolution", "params": {"population": 7}}
    assert resolved["objectives"] == ["flops", "val_accuracy"]


def test_flag_beats_set(xnas, archive):
    import json

    printed = xnas("validate", "--task", archive.task, "--set", "seed=1", "--seed", "2", "--no-report-test", "--json")
    resolved = json.loads(printed.out)["spec"]
    assert resolved["seed"] == 2 and resolved["report_test"] is False


def test_validate_prints_toml_that_reproduces_the_search(xnas, archive, tmp_path):
    first = xnas("validate", "--task", archive.task, "--name", 'a "quoted" \x1b name', "--warm_start", _ZERO)
    again = tmp_path / "again.toml"
    again.write_text(first.out)
    assert first.code == 0 and "\x1b" not in first.out
    assert xnas("validate", again).out == first.out
    assert "15,625 genotypes" in first.err


_ZERO = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_unexpected_errors_are_short_without_debug(xnas, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of \x1b[31m nothing")

    monkeypatch.setattr("xnas_ray.commands.searches.client_of", broken)
    printed = xnas("list")
    assert printed.code == 1
    assert printed.err.splitlines()[0] == "error: of \\x1b[31m nothing"
    assert "--debug" in printed.err and "Traceback" not in printed.err
    for arguments in (("list", "--debug"), ("--debug", "list")):
        assert "Traceback" in xnas(*arguments).err
    assert "Traceback" not in xnas("list").err  # the flag is forgotten


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("lst",), "No such command 'lst'"),
        (("list", "--frob"), "No such option: --frob"),
        (("show",), "Missing argument 'ID'"),
        (("list", "-n", "zero"), "--number"),
        (("list", "-n", "0"), "--number"),
        (("wait", "x", "--timeout", "-1"), "--timeout"),
        (("table",), "Missing command"),
        (("export", "01AA", "one", "--out", "x"), "TRIAL"),
    ],
)
def test_mistakes_in_the_command_line(xnas, arguments, expected):
    printed = xnas(*arguments)
    assert printed.code == 2 and printed.out == ""
    assert printed.err.startswith("error: ") and expected in printed.err and "--help" in printed.err


def test_hostile_arguments_cannot_control_the_terminal(xnas, tmp_path):
    evil = "\x1b[31m\x07\u202e[bold]"
    for arguments in ((evil,), ("show", evil), ("list", "--state", evil), ("run", evil), ("list", f"--{evil}")):
        printed = xnas(*arguments, "--root", tmp_path) if arguments[0] in ("show", "list") else xnas(*arguments)
        assert printed.code == 2
        assert not set(evil[:1] + "\x07\u202e") & set(printed.out + printed.err)


def test_long_errors_are_cut(xnas):
    assert len(xnas("validate", "--task", "digits", "--set", "x" * 10**6 + "=1").err) < 5000


def test_a_closed_pipe_is_no_error(archive):
    command = f"{sys.executable} -c 'from xnas_ray.cli import main; main()' results {archive.finished} "
    shell = f"{command} --root {archive.root} --format json | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[\n" and done.stderr == ""


def test_interrupt_is_130(xnas, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xnas_ray.commands.searches.client_of", interrupted)
    assert xnas("list").code == 130


# ---- lists ----------------------------------------------------------------------------------------------------------


def test_list(xnas, archive):
    printed = xnas("list", "--root", archive.root)
    rows = printed.out.splitlines()
    assert [row[:26] for row in rows[1:]] == [archive.finished, archive.unfinished, archive.cancelled]
    assert "3/32" in rows[2] and "running" in rows[2] and "val_accuracy" in rows[2]
    assert "xnas run --resume" in printed.err
    assert "\x1b" not in printed.out and "\\x1b[31m[bold]evil" in rows[3]


def test_list_can_be_narrowed(xnas, archive):
    assert len(xnas("list", "--root", archive.root, "--state", "finished").out.splitlines()) == 2
    assert archive.cancelled in xnas("list", "--root", archive.root, "-n", "1").out.splitlines()[1]
    assert xnas("list", "--root", archive.root, "--state", "paused").out == "no such search\n"


def test_list_of_an_empty_store(xnas, tmp_path):
    printed = xnas("list", "--root", tmp_path / "new")
    assert printed.code == 0 and printed.out.startswith("no searches in")
    assert not (tmp_path / "new").exists()


def test_store_comes_from_the_environment(xnas, archive, monkeypatch):
    monkeypatch.setenv("XNAS_STORE", str(archive.root))
    assert archive.finished in xnas("list").out


def test_show(xnas, archive):
    import json

    shown = xnas("show", archive.finished[:14], "--root", archive.root).out
    for expected in ("finished  budget.trials is reached", "12/12 trials, 1 failed", "controller.params.population"):
        assert expected in shown
    record = json.loads(xnas("show", "latest", "--root", archive.root, "--json").out)
    assert record["state"] == "cancelled" and [t["state"] for t in record["transitions"]][-1] == "cancelled"
    assert record["spec"]["budget"]["trials"] == 32


def test_plugins_are_listed(xnas):
    assert "nasbench201" in xnas("spaces").out and "15625" in xnas("spaces", "nas*").out
    assert xnas("spaces", "zzz*").out == "none\n"
    assert "population=100" in xnas("controllers").out
    tasks = xnas("tasks").out
    assert "digits" in tasks and "Digits:" in tasks


def test_table_import_names_what_is_wrong(xnas, tmp_path):
    source = tmp_path / "what.bin"
    source.write_bytes(b"x")
    printed = xnas("table", "import", source, "--kind", "nasbench2001", "--out", tmp_path / "t.parquet")
    assert printed.code == 2 and "Did you mean 'nasbench201'?" in printed.err


# ---- steering -------------------------------------------------------------------------------------------------------


def test_steering_reaches_the_head(xnas, archive, fake_head):
    root, search = ("--root", archive.root), archive.unfinished
    for arguments in (("pause", search), ("pause", search, "--now"), ("resume", search), ("cancel", search)):
        assert xnas(*arguments, *root).code == 0
    assert xnas("extend", search, "--trials", 64, "--wall-clock", 3600, *root).code == 0
    assert fake_head.calls == [
        ("pause", search, False),
        ("pause", search, True),
        ("resume", search),
        ("cancel", search),
        ("extend", search, 64, None, 3600.0),
    ]


def test_errors_of_the_head_are_shown(xnas, archive, fake_head):
    fake_head.answers["resume"] = TransitionError("it is not paused.", fix="Leave it.")
    printed = xnas("resume", archive.unfinished, "--root", archive.root)
    assert printed.code == 2 and printed.err == "error: it is not paused. Leave it.\n"


def test_submit(xnas, archive, fake_head, tmp_path):
    fake_head.answers["submit"] = archive.unfinished
    printed = xnas("submit", "--task", archive.task, "--trials", 3, "--key", "k", "--root", tmp_path / "s")
    assert printed.out == f"{archive.unfinished}\n" and f"xnas watch {archive.unfinished}" in printed.err
    [(method, protocol, spec, task_hash, key)] = fake_head.calls
    assert (method, protocol, key) == ("submit", PROTOCOL_VERSION, "k")
    assert spec["budget"]["trials"] == 3 and spec["task"] == str(archive.task)
    assert (tmp_path / "s" / "tasks" / task_hash / "problem.py").read_bytes() == (
        archive.task / "problem.py"
    ).read_bytes()


def test_without_a_service_the_fix_is_named(xnas, archive):
    printed = xnas("pause", archive.unfinished, "--root", archive.root)
    assert printed.code == 2 and "no service runs" in printed.err and "xnas run" in printed.err


def test_wait(xnas, archive, fake_head, live_status):
    root = ("--root", archive.root)
    assert xnas("wait", archive.finished, *root).code == 0
    assert xnas("wait", archive.cancelled, *root).code == 1
    assert xnas("wait", archive.unfinished, "--timeout", 0, *root).code == 3
    fake_head.answers["wait"] = {**live_status, "state": "paused", "reason": "ten failures in a row"}
    printed = xnas("wait", archive.unfinished, *root)
    assert printed.code == 1 and "ten failures in a row" in printed.out


def test_watch_ends_with_the_search(xnas, archive, fake_head, live_status):
    answers = iter([None, None, {**live_status, "state": "finished"}])
    fake_head.answers |= {"status": [live_status], "wait": lambda *_: next(answers)}
    printed = xnas("watch", archive.unfinished, "--root", archive.root, "--interval", "0.1")
    assert printed.code == 0
    lines = printed.out.splitlines()
    assert "running  3/32 trials" in lines[0] and "finished" in lines[-1]


def test_watch_of_an_ended_search_needs_no_service(xnas, archive):
    assert "12/12 trials" in xnas("watch", archive.finished, "--root", archive.root).out


def test_watch_says_how_to_go_on_after_a_pause(xnas, archive, fake_head, live_status):
    fake_head.answers["wait"] = {**live_status, "state": "paused", "reason": "disk full"}
    fake_head.answers["status"] = [live_status]
    printed = xnas("watch", archive.unfinished, "--root", archive.root)
    assert f"xnas resume {archive.unfinished}" in printed.err


def test_a_search_that_ends_between_two_questions(xnas, archive, fake_head):
    fake_head.answers |= {"wait": SearchNotFoundError("gone."), "status": SearchNotFoundError("gone.")}
    printed = xnas("wait", archive.unfinished, "--root", archive.root, "--json")
    assert '"search_id"' in printed.out


def test_a_service_that_dies_is_an_error(xnas, archive, fake_head):
    fake_head.answers["wait"] = ServiceError("the service ended.", fix="Start it again.")
    printed = xnas("wait", archive.unfinished, "--root", archive.root)
    assert printed.code == 2 and "Start it again." in printed.err


def test_main_exits_with_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["xnas", "--nothing"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2


def test_application_has_the_commands_of_the_help():
    names = [info.name or info.callback.__name__ for info in app.registered_commands]
    assert sorted([*names, *(name for (name,) in GROUPS)]) == sorted(COMMANDS)
    assert Path(cli.__file__).read_text().count("\n") < 300
