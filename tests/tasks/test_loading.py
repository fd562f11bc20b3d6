import sys
import textwrap

import pytest

from xnas_ray.errors import DataMissingError, TaskError, UnknownNameError
from xnas_ray.tasks.bundle import bundle_task, snapshot_task
from xnas_ray.tasks.finding import find_task, list_tasks
from xnas_ray.tasks.loading import import_bundle, load_task

FILES = {
    "load_data.py": """
        from xnas_ray.testing.tiny import tiny_data

        def load_data(samples=60):
            return tiny_data(samples=samples)
        """,
    "search_space.py": """
        from xnas_ray.testing.tiny import TinySpace

        def create_search_space(*, flavour="plain"):
            return TinySpace()
        """,
    "problem.py": """
        from xnas_ray.tasks.base import Problem

        problem = Problem(fidelity=2)
        """,
}


@pytest.fixture
def write(tmp_path):
    def make(name="mine", **changes):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in (FILES | {k.replace("__", "."): v for k, v in changes.items()}).items():
            (folder / file).unlink(missing_ok=True)
            if text is not None:
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_text(textwrap.dedent(text))
        return folder

    return make


def test_a_task_gives_its_data_space_and_problem(write):
    task = load_task(write())
    assert (task.name, task.problem.fidelity, task.has_data) == ("mine", 2, True)
    assert len(task.load_data(samples=20).train) == 12
    assert task.create_search_space(flavour="sweet").name == "tiny"


def test_relative_imports_work_between_all_files_and_packages(write):
    folder = write(
        helpers__py="FIDELITY = 7\n",
        problem__py="""
            from xnas_ray.tasks.base import Problem

            from .helpers import FIDELITY
            from .search_space import create_search_space
            from .parts.more import EXTRA

            problem = Problem(space=create_search_space(), fidelity=FIDELITY + EXTRA)
            """,
    )
    (folder / "parts").mkdir()
    (folder / "parts" / "more.py").write_text("from ..helpers import FIDELITY as EXTRA\n")
    assert load_task(folder).problem.fidelity == 14


def test_two_versions_live_in_one_process(write, tmp_path):
    text = "from xnas_ray.tasks.base import Problem\nfrom .helpers import N\nproblem = Problem(fidelity=N)\n"
    tasks = []
    for version in (3, 4):  # the same length and moment: a bytecode cache would mix them up
        info = bundle_task(write(problem__py=text, helpers__py=f"N = {version}\n"), tmp_path / "store")
        tasks.append(import_bundle(info.path, info.hash))
    assert [t.problem.fidelity for t in tasks] == [3, 4]
    assert tasks[0].name == tasks[1].name == "mine"
    assert tasks[0].hash != tasks[1].hash
    again = import_bundle(tasks[0].folder, tasks[0].hash)
    assert again.problem is tasks[0].problem, "a task is executed once a process"
    assert "helpers" not in sys.modules
    assert not any(str(tmp_path) in path for path in sys.path)


def test_code_is_what_was_hashed_even_if_the_folder_changes(write):
    folder = write(
        load_data__py="""
            def load_data():
                from .late import SAMPLES
                from xnas_ray.testing.tiny import tiny_data
                return tiny_data(samples=SAMPLES)
            """,
        late__py="SAMPLES = 60\n",
    )
    task = load_task(folder)
    (folder / "late.py").write_text("SAMPLES = 90\n")
    assert len(task.load_data().train) == 36


def test_a_changed_bundle_is_refused(write, tmp_path):
    info = bundle_task(write(), tmp_path / "store")
    (info.path / "problem.py").write_text("problem = None\n")
    with pytest.raises(TaskError, match="was changed"):
        import_bundle(info.path, info.hash)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem__py": "problem = (\n"}, r"mine/problem\.py line 1: SyntaxError.*Correct the syntax"),
        ({"problem__py": "x = 1\n\n1 / 0\n"}, r"mine/problem\.py line 3: ZeroDivisionError"),
        ({"problem__py": "import helpers\n", "helpers__py": ""}, r"line 1: ModuleNotFound.*from \. import helpers"),
        ({"problem__py": "from .absent import x\n"}, r"line 1: ModuleNotFoundError.*no such file"),
        ({"problem__py": "import no_such_package_x\n"}, "Install 'no_such_package_x'"),
        ({"problem__py": "raise SystemExit(3)\n"}, "must not end the process"),
        ({"problem__py": "x = 1\n"}, r"problem\.py must define problem = Problem"),
        ({"problem__py": "problem = {}\n"}, r"problem\.py must define problem = Problem"),
        ({"problem__py": b"\xff\xfe".decode("latin1") + "\n"}, r"problem\.py"),
        ({"load_data__py": "def load(): ...\n"}, r"load_data\.py must define load_data\(\) -> Data"),
        ({"load_data__py": None}, r"no load_data\.py.*evaluate"),
        ({"search_space__py": "space = 1\n"}, r"search_space\.py must define create_search_space"),
        ({"search_space__py": None}, r"no search_space\.py.*Problem\(space=\.\.\.\)"),
    ],
)
def test_faults_name_file_line_and_fix(write, changes, message):
    with pytest.raises(TaskError, match=message):
        load_task(write(**changes))


def test_a_fault_in_a_helper_is_found_there_and_can_be_mended(write):
    folder = write(problem__py="from .helpers import problem\n", helpers__py="\nproblem = undefined\n")
    with pytest.raises(TaskError, match=r"mine/helpers\.py line 2: NameError"):
        load_task(folder)
    with pytest.raises(TaskError, match=r"mine/helpers\.py line 2: NameError"):
        load_task(folder)
    half = "xnas_task_" + snapshot_task(folder).hash
    assert not [name for name in sys.modules if name.startswith(half)], "nothing half-imported stays"
    (folder / "helpers.py").write_text("from xnas_ray.tasks.base import Problem\nproblem = Problem()\n")
    assert load_task(folder).problem.fidelity == 1


def test_faults_while_calling(write):
    task = load_task(
        write(
            load_data__py="def load_data():\n    return open('/no/such/file')\n",
            search_space__py="def create_search_space():\n    return 3\n",
        )
    )
    with pytest.raises(TaskError, match=r"load_data\.py line 2: FileNotFoundError.*calling load_data"):
        task.load_data()
    with pytest.raises(TaskError, match="must return a Space, got int"):
        task.create_search_space()
    with pytest.raises(TaskError, match="colour") as caught:
        task.create_search_space(colour=1)
    assert caught.value.field == "space.params"
    with pytest.raises(TaskError, match=r"must return xnas_ray\.tasks\.base\.Data, got int"):
        load_task(write(name="other", load_data__py="def load_data():\n    return 3\n")).load_data()


def test_missing_data_stay_a_data_error(write):
    text = """
        from xnas_ray.errors import DataMissingError

        def load_data():
            raise DataMissingError("gone", fix="Fetch it.")
        """
    with pytest.raises(DataMissingError, match="Fetch it"):
        load_task(write(load_data__py=text)).load_data()


def test_evaluate_needs_no_data_and_space_no_file(write):
    text = """
        from xnas_ray.tasks.base import Problem
        from xnas_ray.testing.tiny import TinySpace

        problem = Problem(space=TinySpace(), evaluate=lambda **_: {"val_accuracy": 50.0})
        """
    task = load_task(write(problem__py=text, load_data__py=None, search_space__py=None))
    assert not task.has_data
    assert task.create_search_space() is task.problem.space
    with pytest.raises(TaskError, match="no load_data"):
        task.load_data()
    with pytest.raises(TaskError, match="takes parameters"):
        task.create_search_space(channels=3)


def test_names_are_looked_up_here_then_beside_the_package(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_task("digits").parent.name == "experiments"
    (tmp_path / "experiments").mkdir()
    write(name="experiments/digits")
    assert find_task("digits") == tmp_path / "experiments" / "digits"
    assert list_tasks()["digits"] == tmp_path / "experiments" / "digits"
    assert "diabetes" in list_tasks()


@pytest.mark.parametrize(
    "name",
    ["", " ", "digit", "../digits", "digits/../digits", "/etc", "a\0b", "x" * 5000, "~nobody_here/x", "%s%n", "."],
)
def test_unknown_and_hostile_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UnknownNameError, TaskError)) as caught:
        find_task(name)
    assert caught.value.field == "task"
    if name == "digit":
        assert caught.value.valid
        assert "Did you mean 'digits'" in str(caught.value)


def test_recipes_of_one_of_the_task_s_own_architectures(write):
    task = load_task(write())
    params = {"architecture": {"name": "fixed", "params": {"text": "8x2-relu"}}, "recipe": {"lr": [0.1, 0.2]}}
    space = task.space("joint", params)
    assert space.size == 2
    assert space.format((0, 1)) == '8x2-relu {"lr":0.2}'
    assert task.makes("joint", params)
    assert not task.makes("fixed", {"architecture": "nasbench201"})
