from __future__ import annotations

import json
import os
import types

import pytest

from xnas_ray.commands import doctor


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("XNAS_DATA", "RAY_ADDRESS", "RAY_TMPDIR", *doctor.RAY_SETTINGS):
        monkeypatch.delenv(name, raising=False)


def examined(xnas, *arguments) -> tuple[int, dict, dict]:
    printed = xnas("doctor", "--json", *arguments)
    record = json.loads(printed.out)
    settings = {s["name"]: (s["value"], s["from"]) for s in record["settings"]}
    return printed.code, {f["what"]: (f["level"], f["text"]) for f in record["findings"]}, settings


def test_a_sound_machine(xnas, archive):
    code, found, settings = examined(xnas, "--root", archive.root)
    assert code == 0 and not [f for f in found.values() if f[0] == "problem"]
    assert found["searches"][1] == "1 finished, 1 running, 1 cancelled"
    assert found["service"][1].startswith("none") and found["data digits"][1] == "scikit-learn"
    assert settings["store"] == (str(archive.root), "--root")
    assert settings["RAY_AUTH_MODE"] == ("token", "default")
    text = xnas("doctor", "--root", archive.root).out
    assert "python" in text and "RAY_AUTH_MODE" in text


def test_settings_say_where_they_come_from(xnas, archive, monkeypatch):
    monkeypatch.setenv("XNAS_STORE", str(archive.root))
    monkeypatch.setenv("XNAS_DATA", str(archive.root))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    _, found, settings = examined(xnas)
    assert settings["store"][1] == "XNAS_STORE" and settings["XNAS_DATA"] == (str(archive.root), "environment")
    assert settings["RAY_AUTH_MODE"] == ("disabled", "environment") and "not used" in settings["RAY_ADDRESS"][1]
    assert found["XNAS_DATA"] == ("ok", str(archive.root))


def test_data_that_is_here_is_found(xnas, tmp_path, monkeypatch):
    (tmp_path / "cifar10_subset.npz").touch()
    monkeypatch.setenv("XNAS_DATA", str(tmp_path))
    assert examined(xnas, "--root", tmp_path)[1]["data cifar10"][1] == str(tmp_path / "cifar10_subset.npz")


@pytest.mark.parametrize(
    ("variable", "value", "what", "text"),
    [
        ("XNAS_DATA", "/nowhere", "XNAS_DATA", "is not a folder"),
        ("RAY_AUTH_MODE", "magic", "RAY_AUTH_MODE", "set 'token' or 'disabled'"),
        ("RAY_TMPDIR", "/nowhere", "ray sessions", "RAY_TMPDIR"),
    ],
)
def test_problems_in_the_environment(xnas, tmp_path, monkeypatch, variable, value, what, text):
    monkeypatch.setenv(variable, value)
    code, found, _ = examined(xnas, "--root", tmp_path)
    assert code == 1 and found[what][0] == "problem" and text in found[what][1]


def test_a_store_that_is_a_file(xnas, tmp_path):
    (tmp_path / "x").touch()
    code, found, _ = examined(xnas, "--root", tmp_path / "x" / "store")
    assert code == 1 and found["store"][0] == "problem"


def test_a_store_that_cannot_be_written(xnas, tmp_path, monkeypatch):
    blind = types.SimpleNamespace(**{**vars(os), "access": lambda path, mode: False})
    monkeypatch.setattr(doctor, "os", blind)
    code, found, _ = examined(xnas, "--root", tmp_path)
    assert code == 1 and "XNAS_STORE" in found["store"][1]


def test_a_damaged_store(xnas, tmp_path):
    (tmp_path / "searches").mkdir()
    (tmp_path / "searches" / "part-0-000001-00000000.parquet").write_bytes(b"junk")
    code, found, _ = examined(xnas, "--root", tmp_path)
    assert code == 1 and "part-0-000001-00000000.parquet" in found["store"][1]


def test_a_check_that_breaks_does_not_hide_the_others(xnas, tmp_path, monkeypatch):
    def broken():
        raise OSError("no driver")
        yield

    broken.__name__ = "_gpus"
    monkeypatch.setattr(doctor, "_gpus", broken)
    code, found, _ = examined(xnas, "--root", tmp_path)
    assert code == 1 and found["gpus"] == ("problem", "OSError: no driver") and "tasks" in found


def test_settings_are_those_that_are_set():
    """What doctor calls the default is what bring_up sets."""
    import subprocess
    import sys

    code = (
        "import json, os; from pathlib import Path; from xnas_ray.service.bring_up import set_environment;"
        "set_environment(Path('/tmp/x'), Path('/tmp/x/token'));"
        f"print(json.dumps({{n: os.environ.get(n) for n in {list(doctor.RAY_SETTINGS)!r}}}))"
    )
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == doctor.RAY_SETTINGS, done.stderr
