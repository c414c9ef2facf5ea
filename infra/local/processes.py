"""Starts processes in groups of their own, and ends whole groups.

The rule: what was started is stopped with everything that it started itself, by its own process group, never by name.
The emulator starts the function's processes, so ending only the emulator would leave them behind.

Each group is also apart from the terminal's: Ctrl-C reaches this program alone, which then stops the others in order.

A process that is not a child of this program is known by its number and by when it was started: a number alone may be a
stranger's by now.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from infra.local.wait import TooLate, until

GRACE_S = 10.0
"""How long a group may take to end by itself before it is killed."""

BASE_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT")
"""What a process inherits. Not more: credentials, proxies and AWS profiles of the user have no business here."""


_noters: list[Callable[[int], None]] = []


def note_each(note: Callable[[int], None]) -> None:
    """Calls `note` with the number of each process that is started from now on, as soon as it is there."""
    _noters.append(note)


def environment(**more: str) -> dict[str, str]:
    """The environment for a process: `BASE_VARIABLES` as they are here, and `more`."""
    return {name: os.environ[name] for name in BASE_VARIABLES if name in os.environ} | more


@contextmanager
def running(
    argv: Sequence[str | Path],
    env: Mapping[str, str],
    output: Path | None = None,
    errors: Path | None = None,
    grace_s: float = GRACE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `argv` for the length of the block, then ends it with its whole group.

    Standard output and standard error go to the files named, else where this program's own go.
    """
    with ExitStack() as files:
        out = files.enter_context(output.open("ab")) if output else None
        err = files.enter_context(errors.open("ab")) if errors else None
        process = subprocess.Popen(argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
    try:
        for note in _noters:
            note(process.pid)
        yield process
    finally:
        stop(process, grace_s)


def stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ends `process` and its group: first politely, then, after `grace_s` seconds, for certain."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not _signal(process.pid, sign):
            break
        try:
            until(lambda: process.poll() is not None and not _signal(process.pid, 0), "its process group ended", grace_s)
        except TooLate:
            continue
        break
    process.wait()


def born(pid: int) -> str | None:
    """When the process `pid` was started, in the system's own words; None when there is none, or only its remains."""
    try:
        # Linux counts in ticks since the machine was started. `ps` would make a time of that, and not always the same second.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else f"{_BOOT.read_text().strip()} {words[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if _BOOT.exists():
            return None
    listed = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.split()
    return None if not listed or listed[0].startswith("Z") else " ".join(listed[1:])


_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another text each time that the machine is started. Linux only."""


def end(pid: int, since: str, grace_s: float = GRACE_S) -> bool:
    """Ends what was started as process `pid` at `since` (see `born`), with its group; it need not be a child of this program.

    First politely, then, after `grace_s` seconds, for certain. False when it had ended, whoever has its number now.
    """
    if born(pid) != since:
        return False
    for sign in (signal.SIGTERM, signal.SIGKILL):
        _signal(pid, sign)
        try:
            until(lambda: born(pid) != since, f"process {pid} ended", grace_s)
        except TooLate:
            continue
        break
    # What is left of its group: no other process is given this number while there is something.
    _signal(pid, signal.SIGKILL)
    return True


def _signal(group: int, sign: int) -> bool:
    """Sends `sign` to every process of `group`. False when there is none left."""
    try:
        os.killpg(group, sign)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS, for a group of which only a not yet collected process is left
        return False
    return True


def terminate_like_interrupt() -> None:
    """Makes SIGTERM and SIGHUP unwind this program as Ctrl-C does, so that `finally` blocks run.

    The first of the three also switches all of them off: a second Ctrl-C must not cut the tidying up short.
    """

    def unwind(sign: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(sign).name)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, unwind)
