"""Waits for a condition with a deadline.

The rule: nothing here, and no test, waits for a time to pass. It waits for something to be true, and says what was
missing when it is not true in time.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05
"""Pause between two looks: short against everything that is waited for, long enough to leave the processor alone."""


class TooLate(AssertionError):
    """A condition was not met before its deadline."""


def until(condition: Callable[[], T], what: str, deadline_s: float, poll_s: float = POLL_S) -> T:
    """Calls `condition` until it returns something true, and returns that. `poll_s` is the pause between two calls.

    Raises `TooLate`, naming `what`, when `deadline_s` seconds are over. What `condition` raises ends the wait at once.
    """
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= end:
            raise TooLate(f"not within {deadline_s:g} s: {what} (last seen: {found!r})")
        time.sleep(poll_s)
