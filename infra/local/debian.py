"""Sees to it that commands are there which come as Debian packages: `debian.py chromium=chromium valgrind=valgrind`.

A command that is on the PATH is left alone, wherever it came from. What is missing is installed with apt-get, all of it at
once; that takes root, so anybody else, and a machine without apt-get, is told what to install and nothing is tried.

Only the standard library is used here, and nothing of ours: this runs before there is anything else.
"""

import os
import shutil
import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Installs what is missing. Exit code 0, 1 if something is missing still, 64 for arguments that are no pairs."""
    pairs = [argument.partition("=") for argument in arguments]
    if not pairs or not all(command and package for command, _, package in pairs):
        print("expected pairs such as chromedriver=chromium-driver: a command and the Debian package it is in", file=sys.stderr)
        return 64
    missing = {command: package for command, _, package in pairs if shutil.which(command) is None}
    if not missing:
        return 0
    packages = sorted(set(missing.values()))
    reason = _cannot_install()
    if reason is None:
        print(f"installing {', '.join(packages)} with apt-get (once)", file=sys.stderr, flush=True)
        reason = _install(packages)
        missing = {command: package for command, package in missing.items() if shutil.which(command) is None}
    if not missing:
        return 0
    lacking, packages = ", ".join(sorted(missing)), sorted(set(missing.values()))
    reason = reason or "apt-get installed the packages, but the commands are not on the PATH"
    print(f"expected {lacking} on the PATH; {reason}: apt-get install {' '.join(packages)}", file=sys.stderr)
    return 1


def _cannot_install() -> str | None:
    if shutil.which("apt-get") is None:
        return "there is no apt-get here to install it with, so install what Debian has as"
    return None if os.geteuid() == 0 else "only root can install it, so run as root"


def _install(packages: list[str]) -> str | None:
    """Why it did not work, if it did not. What apt-get has to say about that, it says on standard error itself."""
    # Nobody is there to answer questions.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *step], env=environment, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            return f"apt-get {step[0]} failed, so try it by hand"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
