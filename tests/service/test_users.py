"""Who submitted a search: the system says so, and nobody can say otherwise."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

from xnas_ray.service.archive import stored_status
from xnas_ray.service.users import current_user
from xnas_ray.store import StoreWriter
from xnas_ray.store.reader import list_searches

SEARCH = "01HF7YAT000123456789ABCDEF"


def test_the_environment_is_not_asked(monkeypatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "LNAME", "HOME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert current_user() == pwd.getpwuid(os.geteuid()).pw_name != "somebody-else"


def test_a_user_without_a_name(monkeypatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 987_654_321)
    assert current_user() == "uid 987654321"


def written(played_search, archive, root: Path, user: str) -> None:
    """A search that a user submitted, in a new store."""
    with StoreWriter.open(root) as writer:
        played = played_search(writer, archive.task, SEARCH, {"budget": {"trials": 2}})
        card = {**played.card, "submitted_by": user}
        played.state("running", spec=json.dumps(card), submitted_by=user)


def test_it_is_listed_and_shown(archive, played_search, root, xnas) -> None:
    written(played_search, archive, root, "ada")
    assert list_searches(root)["submitted_by"].tolist() == ["ada"]
    assert stored_status(root, SEARCH)["submitted_by"] == "ada"
    assert json.loads(xnas("list", "--root", root, "--json").out)[0]["submitted_by"] == "ada"
    assert json.loads(xnas("show", SEARCH, "--root", root, "--json").out)["submitted_by"] == "ada"
    assert "submitted by  ada" in xnas("show", SEARCH, "--root", root).out


def test_a_store_from_before(archive, xnas) -> None:
    """Searches that were submitted before this was recorded belong to nobody known."""
    assert list_searches(archive.root)["submitted_by"].isna().all()
    printed = xnas("show", archive.finished, "--root", archive.root)
    assert printed.code == 0 and "submitted by" not in printed.out


def test_a_name_cannot_control_the_terminal(archive, played_search, root, xnas) -> None:
    written(played_search, archive, root, "\x1b[31mred\r\n")
    for command in (("list",), ("show", SEARCH)):
        out = xnas(*command, "--root", root).out
        assert "\x1b" not in out and "\r" not in out


def test_a_real_submission_is_recorded(shared_service) -> None:
    search = shared_service.submit("noop", budget={"trials": 1})
    assert shared_service.status(search)["submitted_by"] == current_user()
    shared_service.wait(search)
    rows = list_searches(shared_service.root).set_index("search_id")
    assert rows.loc[search, "submitted_by"] == stored_status(shared_service.root, search)["submitted_by"]
    assert rows.loc[search, "submitted_by"] == current_user()
