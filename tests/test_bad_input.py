"""What people get wrong: every mistake is one error that names the field and the fix, without a traceback."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

ZERO = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"


def refused(xnas: Callable, *arguments: object, naming: str, fixing: str) -> None:
    """The command line is refused with these texts, and shows a traceback only with ``--debug``."""
    printed = xnas(*arguments)
    assert printed.code == 2, printed
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert naming in printed.err, printed.err
    assert fixing in printed.err, printed.err
    assert "Traceback" not in printed.err and 'File "' not in printed.err
    assert "Traceback" in xnas(*arguments, "--debug").err


# ---- specifications -------------------------------------------------------------------------------------------------

SPECIFICATIONS = {
    "unknown key": ("buget = {trials = 3}", "buget: unknown key", "Did you mean 'budget'?"),
    "unknown inner key": ("budget = {trails = 3}", "budget.trails", "Did you mean 'trials'?"),
    "no trials": ("budget = {trials = 0}", "budget.trials", "greater than or equal to 1"),
    "trials as text": ('budget = {trials = "many"}', "budget.trials", "It is: finished trials"),
    "half a trial": ("budget = {trials = 1.5}", "budget.trials", "valid integer"),
    "no limit": ("budget = {hard = true}", "budget", "at least one of trials, gpu_hours, wall_clock"),
    "budget as a number": ("budget = 5", "budget", "got 5"),
    "negative hours": ("budget = {gpu_hours = -1.0}", "budget.gpu_hours", "greater than 0"),
    "priority 0": ("priority = 0", "priority", "greater than 0"),
    "infinite priority": ("priority = inf", "priority", "finite"),
    "negative seed": ("seed = -1", "seed", "greater than or equal to 0"),
    "huge seed": ("seed = 99999999999999999999", "seed", "less than"),
    "one and a half GPUs": ("resources = {gpus = 1.5}", "resources.gpus", "whole number"),
    "no CPU": ("resources = {cpus = 0}", "resources.cpus", "greater than 0"),
    "no worker": ("resources = {workers = 0}", "resources.workers", "greater than or equal to 1"),
    "reuse": ('reuse = "always"', "reuse", "'none' or 'completed'"),
    "keep_weights": ('keep_weights = "some"', "keep_weights", "'front'"),
    "unreadable constraint": ('constraints = ["flops < many"]', "constraints", "write it like 'flops <= 50e6'"),
    "unmeasured constraint": ('constraints = ["size <= 3"]', "constraints", "Valid: "),
    "objective twice": ('objectives = ["params", "params"]', "objectives", "twice"),
    "unknown objective": ('objectives = ["val_acuracy"]', "objectives", "Did you mean 'val_accuracy'?"),
    "objective of a regression": ('objectives = ["val_r2"]', "objectives", "regression"),
    "unknown controller": ('controller = "randomsearch"', "controller", "Did you mean 'random_search'?"),
    "controller without a module": ('controller = "my.module:Class"', "controller", "cannot import"),
    "unknown controller parameter": (
        'controller = {name = "regularized_evolution", params = {popsize = 3}}',
        "controller.params",
        "Valid: population",
    ),
    "controller parameter out of range": (
        'controller = {name = "regularized_evolution", params = {population = 0}}',
        "controller",
        "population",
    ),
    "unknown space": ('space = "nasbench202"', "space", "Did you mean 'nasbench201'?"),
    "unknown space parameter": ('space = {name = "nasbench201", params = {width = 3}}', "space.params", "channels"),
    "space parameter out of range": ('space = {name = "nasbench201", params = {channels = 0}}', "channels", "1"),
    "space parameters of a task that takes none": (
        'space = {name = "task", params = {channels = 8}}',
        "space.params",
        "Remove them",
    ),
    "no epochs": ("fidelity = 0", "fidelity", "greater than or equal to 1"),
    "short schedule": ("fidelity = 5\nschedule_epochs = 3", "schedule_epochs", "at least fidelity"),
    "negative timeout": ("timeout_s = -5", "timeout_s", "greater than 0"),
    "unknown recipe key": ("recipe = {learning_rate = 0.1}", "recipe", "lr"),
    "recipe value of a wrong type": ('recipe = {lr = "big"}', "recipe.lr", "number"),
    "unknown optimizer": ('recipe = {optimizer = "sdg"}', "recipe.optimizer", "Did you mean 'sgd'?"),
    "unknown augmentation": ('recipe = {augment = ["flip"]}', "recipe.augment", "horizontal_flip"),
    "newer format": ("schema_version = 2", "schema_version", "1"),
    "long name": (f'name = "{"x" * 200}"', "name", "120"),
    "task as a number": ("task = 3", "task", "valid string"),
    "table for a list": ("objectives = {a = 1}", "objectives", "valid tuple"),
}


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_specification(xnas, archive, tmp_path, name):
    text, naming, fixing = SPECIFICATIONS[name]
    path = tmp_path / "spec.toml"
    path.write_text(text if text.startswith("task") else f'task = "{archive.task}"\n{text}\n')
    refused(xnas, "validate", path, naming=naming, fixing=fixing)


GENOTYPES = {
    "empty": ("", "A valid one: |"),
    "not of this space": ("resnet18", "A valid one: |"),
    "unknown operation": (ZERO.replace("skip_connect", "conv_9x9"), "nor_conv_3x3"),
    "wrong source": (ZERO.replace("skip_connect~2", "skip_connect~1"), "~2"),
    "one node too few": ("|none~0|+|none~0|none~1|", "node"),
    "control characters": (ZERO + "\\u001b[31m", "must begin and end with"),
}


@pytest.mark.parametrize("name", GENOTYPES)
def test_genotype_string(xnas, archive, tmp_path, name):
    text, fixing = GENOTYPES[name]
    path = tmp_path / "spec.toml"
    path.write_text(f'task = "{archive.task}"\nwarm_start = ["{text}"]\n')
    refused(xnas, "validate", path, naming="warm_start", fixing=fixing)


@pytest.mark.parametrize(
    ("content", "naming", "fixing"),
    [
        (b"task = ", "spec.toml", "not valid TOML"),
        (b"\xff\xfe\x00", "spec.toml", "UTF-8"),
        (b"", "task", "is required"),
        (b"[[[[", "spec.toml", "not valid TOML"),
    ],
)
def test_file_that_is_no_specification(xnas, tmp_path, content, naming, fixing):
    path = tmp_path / "spec.toml"
    path.write_bytes(content)
    refused(xnas, "validate", path, naming=naming, fixing=fixing)


def test_file_that_is_not_there(xnas, tmp_path):
    refused(xnas, "validate", tmp_path / "no.toml", naming="no.toml", fixing="Give the path of a TOML file")
    refused(xnas, "validate", tmp_path, naming=str(tmp_path), fixing="text file")
    refused(xnas, "validate", naming="SPEC", fixing="--task")


@pytest.mark.parametrize(
    ("arguments", "naming", "fixing"),
    [
        (("--set", "seed"), "--set", "KEY=VALUE"),
        (("--set", "=3"), "--set", "KEY=VALUE"),
        (("--set", "bugdet.trials=3"), "bugdet", "Did you mean 'budget'?"),
        (("--set", "budget.trials.x=3"), "budget.trials", "valid integer"),
        (("--trials", "abc"), "budget.trials", "finished trials"),
        (("--trials", "-1"), "budget.trials", "greater than or equal to 1"),
        (("--recipe", "lr"), "--recipe", "KEY=VALUE"),
        (("--recipe", "rl=0.1"), "recipe", "lr"),
        (("--seed", "0x"), "seed", "of the controller"),
        (("--controller", "x"), "controller", "random_search"),
        (("--keep-weights", "maybe"), "keep_weights", "'best'"),
        (("--workers", "none"), "resources.workers", "most workers at once"),
    ],
)
def test_flag(xnas, archive, arguments, naming, fixing):
    refused(xnas, "validate", "--task", archive.task, *arguments, naming=naming, fixing=fixing)


# ---- tasks ----------------------------------------------------------------------------------------------------------

PROBLEM = (
    "from xnas_ray.spaces.nasbench201 import NASBench201\n"
    "from xnas_ray.tasks.base import Problem\n"
    "problem = Problem(space=NASBench201(), {})\n"
)
LOADS = "from xnas_ray.tasks.base import Data, Split\nimport torch\ndef load_data():\n    {}\n"
LOADABLE = {"load_data.py": LOADS.format("return 1")}

TASKS = {
    "no problem.py": ({"load_data.py": "x = 1"}, "problem.py", "A task is a folder with"),
    "syntax error": ({"problem.py": "problem = = 3"}, "problem.py line 1", "Correct the syntax"),
    "no problem": ({"problem.py": "x = 1"}, "problem.py", "problem = Problem("),
    "problem of another type": ({"problem.py": "problem = {'space': 1}"}, "problem.py", "Add it."),
    "raises": ({"problem.py": "x = 1\nprint(1 / 0)"}, "problem.py line 2: ZeroDivisionError", "Correct that line."),
    "exits": ({"problem.py": "import sys\nsys.exit(3)"}, "problem.py line 2", "must not end the process"),
    "missing package": ({"problem.py": "import no_such_package"}, "no_such_package", "Install 'no_such_package'"),
    "absolute import of its own": (
        {"problem.py": "import helpers", "helpers.py": ""},
        "problem.py line 1",
        "write 'from . import helpers'",
    ),
    "no data": ({"problem.py": PROBLEM.format("fidelity=1")}, "load_data.py", "Write load_data.py"),
    "no space": (
        {"problem.py": "from xnas_ray.tasks.base import Problem\nproblem = Problem()\n", **LOADABLE},
        "search_space.py",
        "Write search_space.py",
    ),
    "unknown metric": ({"problem.py": PROBLEM.format("metrics=('top2',)"), **LOADABLE}, "metric", "top1"),
    "unknown loss": ({"problem.py": PROBLEM.format("loss='l3'"), **LOADABLE}, "loss", "cross_entropy"),
    "no epochs": ({"problem.py": PROBLEM.format("fidelity=0"), **LOADABLE}, "Problem.fidelity", "from 1"),
    "space of another type": (
        {"problem.py": "from xnas_ray.tasks.base import Problem\nproblem = Problem(space=3)\n", **LOADABLE},
        "Problem.space",
        "must be a Space",
    ),
    "data of another type": ({"problem.py": PROBLEM.format(""), **LOADABLE}, "load_data.py", "must return"),
    "data loader raises": (
        {"problem.py": PROBLEM.format(""), "load_data.py": LOADS.format("raise OSError('gone')")},
        "load_data.py line 4: OSError: gone",
        "Correct that line.",
    ),
    "labels of a wrong type": (
        {
            "problem.py": PROBLEM.format(""),
            "load_data.py": LOADS.format(
                "s = Split(torch.zeros(4, 1, 8, 8), torch.zeros(4)); return Data(s, s, s, classes=('a', 'b'))"
            ),
        },
        "Data.train.targets",
        "labels.long()",
    ),
    "labels out of range": (
        {
            "problem.py": PROBLEM.format(""),
            "load_data.py": LOADS.format(
                "s = Split(torch.zeros(4, 1, 8, 8), torch.full((4,), 7)); return Data(s, s, s, classes=('a', 'b'))"
            ),
        },
        "Data.train.targets",
        "2 classes",
    ),
    "space function of another type": (
        {
            "problem.py": PROBLEM.format(""),
            "search_space.py": "def create_search_space():\n    return 3\n",
            "load_data.py": LOADS.format(
                "s = Split(torch.zeros(4, 1, 8, 8), torch.full((4,), 1)); return Data(s, s, s, classes=('a', 'b'))"
            ),
        },
        "search_space.py",
        "must return a Space",
    ),
    "hostile text in an error": (
        {"problem.py": "raise ValueError('\\x1b[31m' + 'x' * 100000)"},
        "problem.py line 1: ValueError: \\x1b[31mxxx",
        "…",
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_task(xnas, tmp_path, name):
    files, naming, fixing = TASKS[name]
    folder = tmp_path / "mine"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text)
    refused(xnas, "validate", "--task", folder, naming=naming, fixing=fixing)


def test_unknown_task(xnas):
    refused(xnas, "validate", "--task", "digit", naming="task: there is no task", fixing="Did you mean 'digits'?")
    refused(xnas, "run", "--task", "\x1b[31m", naming="\\x1b[31m", fixing="Valid: ")


def test_task_with_a_symbolic_link(xnas, archive, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "problem.py").write_bytes((archive.task / "problem.py").read_bytes())
    (folder / "big.csv").symlink_to("/etc/hosts")
    refused(xnas, "validate", "--task", folder, naming="big.csv", fixing="Replace it by a copy")


# ---- data folders ---------------------------------------------------------------------------------------------------


def idx(sizes: tuple[int, ...], count: int) -> bytes:
    """An IDX file of zeros whose header and length may disagree."""
    return bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(count)


def mnist_folder(root: Path, images: bytes) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx((4,), 4))


@pytest.mark.parametrize(
    "images", [b"", b"junk", idx((4, 28, 28), 17), idx((4, 28, 28), 4 * 784 + 1), b"\x00\x00\x09\x01" + bytes(8)]
)
def test_damaged_image_file(xnas, tmp_path, monkeypatch, images):
    mnist_folder(tmp_path, images)
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    refused(xnas, "validate", "--task", "mnist", naming="images-idx3-ubyte", fixing="Fetch it again.")


def test_data_folder_that_is_not_there(xnas, tmp_path, monkeypatch):
    monkeypatch.setenv("XNAS_DATA", str(tmp_path / "gone"))
    refused(xnas, "validate", "--task", "mnist", naming="XNAS_DATA", fixing="Unset it")


def test_incomplete_batches(xnas, tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    refused(xnas, "validate", "--task", "cifar10", naming="CIFAR-10", fixing="Fetch it again.")


def test_damaged_subset(xnas, tmp_path, monkeypatch):
    (tmp_path / "cifar10_subset.npz").write_bytes(b"PK\x03\x04 not a zip")
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    refused(xnas, "validate", "--task", "cifar10", naming="cifar10_subset.npz is damaged", fixing="Fetch it again.")


# ---- stores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "naming", "fixing"),
    [
        (("show", "01"), "search_id", "at least 4"),
        (("show", "01HF7Y"), "3 searches start", "Give more characters"),
        (("show", "ZZZZZZ"), "search_id", "Valid: 01"),
        (("list", "--state", "runing"), "--state", "Did you mean 'running'?"),
        (("results", "{finished}", "--format", "xls"), "--format", "parquet"),
        (("results", "{finished}", "--format", "parquet"), "--out", "Name a file"),
        (("results", "{finished}", "--out", "x.doc"), "--format", "csv"),
        (("results", "{finished}", "--sort", "acc"), "--sort", "val_accuracy"),
        (("results", "{finished}", "--out", "/nowhere/x.csv"), "--out", "/nowhere/x.csv"),
        (("export", "{finished}", "99", "--out", "x"), "trial", "Valid: 0"),
        (("export", "{finished}", "1", "--out", "/proc/x"), "--out", "/proc/x"),
        (("extend", "{finished}"), "budget", "trials, gpu_hours, wall_clock"),
        (("extend", "{finished}", "--trials", "0"), "budget.trials", "above 0"),
        (("extend", "{finished}", "--wall-clock", "nan"), "budget.wall_clock", "above 0"),
        (("run", "--resume", "{finished}"), "ID", "larger budget"),
        (("run", "--resume", "{unfinished}", "--seed", "3"), "seed", "budget.trials"),
        (("run", "--resume", "{unfinished}", "--trials", "none"), "budget.trials", "finished trials"),
    ],
)
def test_store(xnas, archive, arguments, naming, fixing):
    filled = [a.format(finished=archive.finished, unfinished=archive.unfinished) for a in arguments]
    refused(xnas, *filled, "--root", archive.root, naming=naming, fixing=fixing)


def test_store_with_a_damaged_part(xnas, tmp_path):
    folder = tmp_path / "searches"
    folder.mkdir()
    (folder / "part-0-000001-00000000.parquet").write_bytes(b"PAR1 junk")
    refused(
        xnas, "list", "--root", tmp_path, naming="part-0-000001-00000000.parquet", fixing="move it out of the store"
    )


@pytest.mark.parametrize(
    ("text", "naming", "fixing"),
    [
        ("[haed]", "haed", "Did you mean 'head'?"),
        ("[head]\nhost = 3", "head.host", "Did you mean 'hosts'?"),
        ("[head]\nhosts = 'two'", "hosts", "number of at least 0"),
        ("[head", "profile.toml", "cluster/local.toml"),
    ],
)
def test_profile(xnas, archive, tmp_path, text, naming, fixing):
    profile = tmp_path / "profile.toml"
    profile.write_text(text)
    arguments = ("run", "--task", archive.task, "--root", tmp_path / "store", "--profile", profile)
    refused(xnas, *arguments, naming=naming, fixing=fixing)


def test_resume_in_an_empty_store(xnas, tmp_path):
    refused(xnas, "run", "--resume", "--root", tmp_path, naming="--resume", fixing="Leave --resume out")


def test_export_does_not_overwrite(xnas, archive, tmp_path):
    (tmp_path / "precious").touch()
    arguments = ("export", archive.finished, archive.best, "--out", tmp_path, "--root", archive.root)
    refused(xnas, *arguments, naming="--out", fixing="does not exist yet")


def test_table_of_a_missing_file(xnas, tmp_path):
    arguments = ("table", "import", tmp_path / "x.pth", "--out", tmp_path / "t.parquet")
    refused(xnas, *arguments, naming="source", fixing="x.pth")
