#!/usr/bin/env python3
"""Proves the proof: plants one defect after another and shows that the simulation catches each.

Every patch in `planted/` is a defect with a sentence that says what is wrong and the number of worlds within which it must be
caught. It is applied to a copy of the tree, never to the tree itself. The copy has a target folder of its own: cargo does not
tell a package from its copy, and in a shared one a defect would pass for a fresh build of the tree.

Exit codes: 0 all caught; 1 one was not caught, or a patch does not apply or compile; 64 a name that is no defect.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "sim" / "planted"
TREE = ROOT / "target" / "planted"
BUILD = ROOT / "target" / "planted-build"
CAUGHT = re.compile(r"^make sim SEED=(\d+) replays: (law \d+)", re.MULTILINE)


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a command and collects what it says."""
    return subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]


def copy_tree() -> None:
    """Makes the copy equal to the tree, and leaves alone what is equal already: cargo goes by the time of a change."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    wanted = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for name in wanted:
        source, copy = ROOT / name, TREE / name
        content = source.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    for copy in [path for path in TREE.rglob("*") if path.is_file()]:
        if copy.relative_to(TREE).as_posix() not in wanted:
            copy.unlink()


def patch(name: str, *options: str) -> str | None:
    """Applies a defect to the copy; what is wrong with it otherwise."""
    # The copy lies below a repository that git must not take it for a part of.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(TREE.parent)}
    applied = run("git", "apply", *options, str(PATCHES / f"{name}.patch"), cwd=TREE, env=environment)
    return applied.stderr.strip() if applied.returncode else None


def stated(name: str) -> int:
    """Within how many worlds the patch says that it is caught."""
    found = re.search(r"^Caught within (\d+) worlds\.$", (PATCHES / f"{name}.patch").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


def catch(name: str) -> str | None:
    """Plants a defect and runs the simulation; what is wrong otherwise."""
    if fault := patch(name):
        return f"does not apply: {fault}"
    cargo = ["cargo", "test", "--locked", "--profile", "sim", "--package", "relay-tests", "--test", "sim"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILD)}
    if (built := run(*cargo, "--no-run", cwd=TREE, env=environment)).returncode:
        return f"does not compile:\n{built.stderr}"
    worlds = stated(name)
    settings = {"WORLDS": str(worlds), "STOP": "1", "SEED": "", "FROM": "", "RUST_BACKTRACE": "0"}
    start = time.monotonic()
    tried = run(*cargo, "every_law", cwd=TREE, env={**environment, **settings})
    found = [(int(seed), law) for seed, law in CAUGHT.findall(tried.stdout)]
    if tried.returncode == 0 or not found:
        return f"is not caught within {worlds} worlds"
    seed, law = min(found)
    print(f"{name}: caught by {law} in world {seed}, stated {worlds}, {time.monotonic() - start:.1f} s", flush=True)
    return None


def main() -> int:
    """Runs the command line."""
    names = sorted(path.stem for path in PATCHES.glob("*.patch"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="defects to plant; all without any")
    parser.add_argument("--some", type=int, default=0, help="check that all apply, and plant so many, others for each commit")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        print(f"expected names from {PATCHES.name}/, found {', '.join(sorted(unknown))}", file=sys.stderr)
        return 64
    chosen = arguments.names or names
    faults: dict[str, str | None] = {}
    copy_tree()
    if arguments.some:
        faults |= {name: patch(name, "--check") for name in names}
        commit = run("git", "rev-parse", "HEAD", cwd=ROOT).stdout.strip() or "0"
        first = int(commit, 16) % len(names)
        chosen = (names + names)[first : first + arguments.some]
    for name in chosen:
        copy_tree()
        faults[name] = faults.get(name) or catch(name)
    copy_tree()
    failed = {name: fault for name, fault in faults.items() if fault}
    for name, fault in failed.items():
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"{len(chosen)} of {len(names)} defects planted, {len(failed)} not caught")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
