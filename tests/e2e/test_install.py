"""Installing Python tools on a machine that lacks what it takes: said in one line, before anything is deleted."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from infra.local import install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for what is installed, with something older in it."""
    monkeypatch.setattr(install, "LOCAL", tmp_path)
    older = tmp_path / "venv" / "older"
    older.parent.mkdir()
    older.write_text("")
    return older


@pytest.mark.parametrize("missing", [["ensurepip"], ["venv", "ensurepip"]])
def test_a_python_without_venv_is_told_with_the_package_that_brings_it(
    missing: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def found(name: str) -> ModuleSpec | None:
        return None if name in missing else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert install.main([]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"has no {' and no '.join(missing)}," in told and "sudo apt install python3-venv" in told and "make PYTHON=" in told
    assert folder.is_file(), "what was there is left alone"


def test_a_python_that_is_too_old_is_told_with_what_to_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "OLDEST_PYTHON", (99, 1))
    assert install.main([]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Python 99.1 or newer is needed, and ") and "make PYTHON=" in told and folder.is_file()


def test_a_name_that_is_not_known_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["vnev"]) == 2
    assert capsys.readouterr().err == "expected at most one of venv, sam, localstack, bench, not vnev\n" and folder.is_file()
