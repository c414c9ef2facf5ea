"""What sees to it that commands of Debian packages are there, as far as that can be shown without installing any."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.settings import ROOT

SCRIPT = ROOT / "infra" / "local" / "debian.py"


def _run(path: Path, *arguments: str) -> tuple[int, str]:
    """Runs it where only the commands in the folder `path` are found: exit code, and what it said."""
    done = subprocess.run([sys.executable, SCRIPT, *arguments], env={"PATH": str(path)}, capture_output=True, text=True)
    assert done.stdout == ""
    return done.returncode, done.stderr


def _command(folder: Path, name: str, script: str = "") -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_nothing_is_done_for_commands_that_are_there(tmp_path: Path) -> None:
    _command(tmp_path, "browser")
    _command(tmp_path, "apt-get", f"touch {tmp_path}/asked")
    assert _run(tmp_path, "browser=some-browser", "browser=another") == (0, "")
    assert not (tmp_path / "asked").exists()


def test_without_apt_get_it_says_what_to_install(tmp_path: Path) -> None:
    _command(tmp_path, "browser")
    code, said = _run(tmp_path, "browser=some-browser", "tool=tools", "driver=browser-driver")
    assert code == 1
    assert (
        said.count("\n") == 1 and "expected driver, tool on the PATH" in said and "apt-get install browser-driver tools" in said
    )


@pytest.mark.skipif("os.geteuid() != 0", reason="only root installs anything")
def test_what_is_missing_is_installed_at_once_and_looked_for_again(tmp_path: Path) -> None:
    _command(
        tmp_path,
        "apt-get",
        f'echo "$@" >> {tmp_path}/asked; printf "#!/bin/sh\\n" > {tmp_path}/tool; /bin/chmod +x {tmp_path}/tool',
    )
    assert _run(tmp_path, "tool=tools")[0] == 0
    assert (tmp_path / "asked").read_text() == "-qq update\n-qq install --yes --no-install-recommends tools\n"
    code, said = _run(tmp_path, "other=others")
    assert (code, "apt-get install others" in said) == (1, True), "the package did not bring it"
    _command(tmp_path, "apt-get", "exit 100")
    code, said = _run(tmp_path, "other=others")
    assert (code, "apt-get update failed" in said) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["chromium"], ["=chromium"], ["chromium="]])
def test_arguments_that_are_no_pairs_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    code, said = _run(tmp_path, *arguments)
    assert (code, said.startswith("expected pairs such as")) == (64, True)
