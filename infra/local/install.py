"""Installs pinned Python tools into a folder of `.local`. Run by the make targets, with the system's Python.

    install.py [venv|sam|localstack|bench]

`venv` is what nearly every target needs. `sam` is what checks and deploys the template: it wants older versions of what the
others want, and is made only by the targets that need it; `localstack` is an emulator, and wants Python 3.13; `bench` is what
others would write in the relay's place, for `make bench`. Each has its requirements.txt and constraints.txt in a folder of its
own. Where the constraints hold hashes, they name everything, and nothing else is installed.

Does nothing when that has been done already: a stamp in the folder holds the hash of what was asked for and the Python it
was done with. The stamp is written last, so an interrupted installation starts again from nothing.

Only the standard library is used here, and nothing of ours: this runs before there is anything else.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL = HERE.parents[1] / ".local"
ASKED_FOR = {
    "venv": HERE,
    "sam": HERE.parent / "sam",
    "localstack": HERE.parent / "localstack",
    "bench": HERE.parents[1] / "tests" / "bench" / "peers",
}
"""Where each of the folders in `.local` has its requirements."""
STAMP = LOCAL / "venv" / "installed"
OLDEST_PYTHON = (3, 10)
NEEDED_MODULES = ("venv", "ensurepip")
"""What makes a virtual environment with pip in it. Debian has both in a package of their own."""


def main(arguments: list[str]) -> int:
    """Installs what is not installed yet. Exit code 0, pip's, 1 for a Python that will not do, or 2 for a name not known here."""
    if sys.version_info < OLDEST_PYTHON:
        needed, found = ".".join(map(str, OLDEST_PYTHON)), ".".join(map(str, sys.version_info[:3]))
        print(f"Python {needed} or newer is needed, and {sys.executable} is {found}: try make PYTHON=python3.12", file=sys.stderr)
        return 1
    name = arguments[0] if arguments else "venv"
    if name not in ASKED_FOR or len(arguments) > 1:
        print(f"expected at most one of {', '.join(ASKED_FOR)}, not {' '.join(arguments)}", file=sys.stderr)
        return 2
    folder, wanted = LOCAL / name, _wanted(ASKED_FOR[name])
    stamp = folder / STAMP.name
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    if missing := [module for module in NEEDED_MODULES if importlib.util.find_spec(module) is None]:
        version = ".".join(map(str, sys.version_info[:2]))
        print(
            f"{sys.executable} has no {' and no '.join(missing)}, which make its virtual environments: on Debian and Ubuntu run "
            f"`sudo apt install python3-venv` (python{version}-venv for a Python beside the system's); elsewhere install a "
            "Python with its whole standard library, and try make PYTHON=/its/python3",
            file=sys.stderr,
        )
        return 1
    import venv

    print(f"installing Python tools into .local/{name} (once, less than a minute)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, "install", *_asked(ASKED_FOR[name])])
    if done.returncode == 0:
        stamp.write_text(wanted)
    return done.returncode


def _asked(place: Path) -> list[str | Path]:
    requirements, constraints = place / "requirements.txt", place / "constraints.txt"
    if "--hash=" in constraints.read_text():
        # pip would also want a hash for the ranges that packages ask of each other: they are settled already.
        return ["--no-deps", "--require-hashes", "--requirement", constraints]
    return ["--requirement", requirements, "--constraint", constraints]


def _wanted(place: Path = HERE) -> str:
    # The interpreter counts too: a venv points at the one it was made with.
    asked = [(place / name).read_bytes() for name in ("requirements.txt", "constraints.txt")]
    content = b"\0".join([*asked, sys.executable.encode(), sys.version.encode()])
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
