"""Installs the pinned Python tools into `.local/venv`. Run by the make targets, with the system's Python.

Does nothing when that has been done already: a stamp in the folder holds the hash of what was asked for and the Python it
was done with. The stamp is written last, so an interrupted installation starts again from nothing.

Only the standard library is used here, and nothing of ours: this runs before there is anything else.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".local" / "venv"
STAMP = FOLDER / "installed"
REQUIREMENTS = HERE / "requirements.txt"
CONSTRAINTS = HERE / "constraints.txt"
OLDEST_PYTHON = (3, 10)


def main() -> int:
    """Installs what is not installed yet. Exit code 0, pip's, or 1 for a Python that is too old."""
    if sys.version_info < OLDEST_PYTHON:
        needed, found = ".".join(map(str, OLDEST_PYTHON)), ".".join(map(str, sys.version_info[:3]))
        print(f"Python {needed} or newer is needed, and {sys.executable} is {found}: try make PYTHON=python3.12", file=sys.stderr)
        return 1
    wanted = _wanted()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return 0
    print("installing Python tools into .local/venv (once, about half a minute)", file=sys.stderr, flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=True)
    pip = [FOLDER / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, "install", "--requirement", REQUIREMENTS, "--constraint", CONSTRAINTS])
    if done.returncode == 0:
        STAMP.write_text(wanted)
    return done.returncode


def _wanted() -> str:
    # The interpreter counts too: a venv points at the one it was made with.
    content = b"\0".join([REQUIREMENTS.read_bytes(), CONSTRAINTS.read_bytes(), sys.executable.encode(), sys.version.encode()])
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
