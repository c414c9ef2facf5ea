"""Starts processes in groups of their own, and ends whole groups.

The rule: what was started is stopped with everything that it started itself, by its own process group, never by name.
The emulator starts the function's processes, so ending only the emulator would leave them behind.

Each group is also apart from the terminal's: Ctrl-C reaches this program alone, which then stops the others in order.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from infra.local.wait import TooLate, until

GRACE_S = 10.0
"""How long a group may take to end by itself before it is killed."""

BASE_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT")
"""What a process inherits. Not more: credentials, proxies and AWS profiles of the user have no business here."""


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
