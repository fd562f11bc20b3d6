"""The pages do what they say: their code runs, their searches are valid, their commands and links exist.

Looked at are the fenced blocks of README.md and docs/*.md. The words after the language say what holds for a block:

=====================  =============================================================================================
```python              runs: blocks in order, one namespace a page, in an empty folder that has a store in results/
```python file=x/y.py  is written there, to be imported or found by later blocks; test_*.py are run by pytest at the end
```python no-run       needs a running service, or a file that is not here: it is only compiled
```text output         is exactly what the Python block before it printed
```toml                is the specification of a search; with file=NAME it is written there too
```toml no-spec        is TOML of another kind
```console             lines that begin with ``$ xnas`` or ``$ make`` name commands, flags and targets that exist
=====================  =============================================================================================

Other languages are shown to people only. Nothing here starts Ray.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, *(page for page in (ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md") if page.is_file())]
_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_NAMED_PAGE = re.compile(r"`([\w./-]+\.md)`")
_SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the words after it, its text, and the line of the page before the text."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text[: found.start(3)].count("\n"), found[1], tuple(found[2].split()), found[3])
        for found in _FENCE.finditer(text)
        if found[1] in languages
    ]


def all_blocks(*languages: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for page in PAGES for block in blocks(page, *languages)]


def without_code(text: str) -> str:
    return _FENCE.sub("", text)


# ---- code ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def example_store(archive: Any, played_search: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished search: 12 trials, one of them failed, the best one measured on the test split."""
    from xnas_ray.store import StoreWriter, new_search_id

    root = tmp_path_factory.mktemp("docs") / "results"
    search_id = new_search_id(1_700_000_000.0)
    evolution = {"name": "regularized_evolution", "params": {"population": 4, "sample": 2}}
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, search_id, {"controller": evolution, "budget": {"trials": 12}})
        search.trials(12, failing={3: "made to fail"})
        measured = pd.DataFrame([{"trial": search.best.trial, "metric": "test_accuracy", "value": 91.5}])
        writer.append_explanation("test", search_id, measured)
        search.state("finished")
    return root


@pytest.fixture
def folder(example_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page runs: its own folder, on the import path."""
    import torch

    torch.set_num_threads(1)
    shutil.copytree(example_store, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("XNAS_STORE", "XNAS_DATA"):
        monkeypatch.delenv(name, raising=False)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def compiled(block: Block) -> Any:
    """The block's code; line numbers are those of the page."""
    return compile("\n" * block.line + block.text, block.page, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, folder: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    printed, tests = "", []
    for block in blocks(page, "python", "text", "toml"):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            tests += [path] if path.name.startswith("test_") else []
        if block.language == "python" and block.file is None and "no-run" not in block.words:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compiled(block), names)
            printed = out.getvalue()
        elif "output" in block.words:
            assert printed == block.text, f"{block} is not what the code before it prints"
    if tests:
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider --import-mode=importlib\n")
        arguments = [f"--rootdir={folder}", "-c", str(folder / "pytest.ini"), *map(str, tests)]
        assert pytest.main(arguments) == pytest.ExitCode.OK


@pytest.mark.parametrize("block", all_blocks("python"))
def test_code_is_python(block: Block) -> None:
    compiled(block)
    assert set(block.words) <= {"no-run", f"file={block.file}"}, f"{block}: unknown words {block.words}"


# ---- searches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", all_blocks("toml"))
def test_searches_are_valid(block: Block) -> None:
    from xnas_ray.spec import SearchSpec

    values = tomllib.loads(block.text)
    if "no-spec" not in block.words:
        SearchSpec.from_mapping(values)


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    path = ROOT / "docs" / "make_spec_table.py"
    spec = importlib.util.spec_from_file_location("make_spec_table", path)
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    page = maker.PAGE.read_text(encoding="utf-8")
    assert maker.render(page) == page, "run python docs/make_spec_table.py"


# ---- commands --------------------------------------------------------------------------------------------------------


def command_lines(block: Block) -> list[list[str]]:
    """Commands of a console block, each as words; comments and redirections are left out."""
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in _SEPARATORS:
                found += [words] if words else []
                words = []
            else:
                words.append(word)
    return found


def check_xnas(arguments: list[str]) -> None:
    """Parse a command line without running it; what does not exist raises."""
    import typer

    import xnas_ray.cli
    from xnas_ray.commands.application import app

    assert xnas_ray.cli.app is app  # every family of commands is registered
    command, name = typer.main.get_command(app), "xnas"
    while arguments and hasattr(command, "commands") and not arguments[0].startswith("-"):
        name, *arguments = arguments
        command = command.commands[name]
    if "--help" not in arguments and "--version" not in arguments:
        command.make_context(name, list(arguments))


@pytest.mark.parametrize("block", all_blocks("console"))
def test_commands_exist(block: Block) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for program, *arguments in command_lines(block):
        if program == "xnas":
            check_xnas(arguments)
        elif program == "make":
            assert set(arguments) <= set(targets), f"{block}: make {arguments}"


@pytest.mark.parametrize("line", ["xnas rum x.toml", "xnas run x.toml --trails 3", "xnas list --state", "make nothing"])
def test_commands_that_do_not_exist_are_found(line: str) -> None:
    block = Block("page", 1, "console", (), f"$ {line}  # and why\n")
    with pytest.raises(Exception):  # noqa: B017 - typer's own error, a KeyError or an AssertionError
        test_commands_exist(block)


# ---- links -----------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for target, anchor in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        found = (page.parent / target) if target else page
        assert found.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(found), f"{page.name}: {found.name} has no heading #{anchor}"
    for name in _NAMED_PAGE.findall(text):
        assert (ROOT / name).is_file() or (page.parent / name).is_file(), f"{page.name} names {name}"
