"""Shows that functions do not depend on where they are built: `python -m infra.local.reproducible NAME...`.

Each is built here, then from a copy of this tree in another folder, from nothing; the two files must be the same, byte for byte.
So anybody can find out whether a deployed function was made of the source that it is said to be made of: Lambda's `CodeSha256` is
the hash of its zip.

What both share is the machine: its Rust, the tools that this repository pins, and the sources of the packages, which Cargo.lock
holds by their hashes. The zip's bytes are also zlib's work, which another Python may have in another version: then compare what
is in them.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.local.build import build
from infra.local.settings import ROOT
from infra.local.steps import say, step


def main() -> int:
    """Builds each function twice. Exit code 0 if both are the same for all of them, else 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.reproducible", description="Build twice and compare.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="a package below functions/")
    parser.add_argument("--architecture", help="Lambda's; that of this machine unless given")
    chosen = parser.parse_args()
    # It would be one and the same for both.
    os.environ.pop("CARGO_TARGET_DIR", None)
    with tempfile.TemporaryDirectory(prefix="usage-relay-reproducible-") as folder:
        elsewhere = Path(folder).resolve() / "by-another-name"
        same = [_compare(name, chosen.architecture, elsewhere) for name in chosen.names]
    return 0 if all(same) else 1


def _compare(name: str, architecture: str | None, elsewhere: Path) -> bool:
    with step(f"build {name} in {ROOT}"):
        here = build(name, architecture)
    _copy(elsewhere)
    with step(f"build {name} in {elsewhere}"):
        there = build(name, architecture, elsewhere)
    hashes = [hashlib.sha256(zipped.read_bytes()).hexdigest() for zipped in (here, there)]
    print(f"{hashes[0]}  {name}.zip, built here\n{hashes[1]}  {name}.zip, built elsewhere", flush=True)
    if hashes[0] == hashes[1]:
        return True
    kept = here.with_name(f"{name}.elsewhere.zip")
    shutil.copy(there, kept)
    say(f"{name} is not the same: compare {here} with {kept}")
    return False


def _copy(elsewhere: Path) -> None:
    """Copies what git has of this tree, and what it would be given, as it is now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).is_file():
            (elsewhere / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, elsewhere / file)


if __name__ == "__main__":
    sys.exit(main())
