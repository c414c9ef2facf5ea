"""`make test-localstack`: sets LocalStack up, and has pytest run tests/localstack against it.

Where `AWS_ENDPOINT_URL` names a LocalStack that runs already, on loopback, that one is used. Else it takes Python 3.13, which is
what this LocalStack asks for: searched on the PATH and among pyenv's. Where there is none, it says so and does nothing: exit code
0, and a line that begins with SKIPPED, for CI to repeat.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from infra.local.emulator import given
from infra.local.settings import ROOT
from infra.local.steps import say

WANTED = "3.13"
PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
"""Says which Python it is. Debian's may lack the two modules that a folder of packages is made with."""
PROBE_TIMEOUT_S = 20
INSTALL = ROOT / "infra" / "local" / "install.py"


def main() -> int:
    """pytest's exit code, pip's, or 0 when it was skipped."""
    if given() is None:
        python = next(usable(candidates()), None)
        if python is None:
            print(
                f"SKIPPED: test-localstack: no Python {WANTED} on the PATH or in pyenv, and no AWS_ENDPOINT_URL of a LocalStack"
            )
            return 0
        start = time.monotonic()
        code = subprocess.run([python, INSTALL, "localstack"]).returncode
        if code != 0:
            return code
        say(f"{time.monotonic() - start:5.1f} s  set LocalStack up, with {python}")
    return subprocess.run([sys.executable, "-m", "pytest", "tests/localstack", *sys.argv[1:]], cwd=ROOT).returncode


def candidates() -> Iterator[Path]:
    """Files that may be the Python that is wanted, the likeliest first."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(f"python{WANTED}", path=folder) if folder else None
        if found:
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{WANTED}*/bin/python{WANTED}"))


def usable(found: Iterator[Path]) -> Iterator[Path]:
    """Those of `found` that run, and are what they are called: pyenv leaves files on the PATH that only say what is missing."""
    for python in found:
        try:
            said = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if said.returncode == 0 and said.stdout.strip() == WANTED:
            yield python


if __name__ == "__main__":
    sys.exit(main())
