"""Prints what is being done, one short line a step, with the time it took.

What is absent: the servers' own output. It goes to files, whose folder is named when something fails.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(what: str) -> Iterator[None]:
    """Prints `what` and the seconds the block took; when the block fails, that it failed."""
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{time.monotonic() - start:5.1f} s  {what}: failed")
        raise
    say(f"{time.monotonic() - start:5.1f} s  {what}")


def say(line: str) -> None:
    """Prints `line` on standard error: standard output belongs to the command that is run."""
    print(line, file=sys.stderr, flush=True)
