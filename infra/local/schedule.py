"""Has ingest-watch look at what m3ter said later, more often than the template's schedule does.

The deployed schedule runs too: the emulator fires it. But it is one of minutes, as it should be on AWS, and whoever tries
something wants to see what came of it. Two looks at a time do no harm.
"""

import threading
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.setup import Local
from infra.local.steps import say

EVERY_S = 15.0
"""Seconds between the end of one look and the next. A look takes 0.1 s while there is little to see."""


def keep(relay: Local) -> NoReturn:
    """Looks, and waits, until a signal ends the program.

    A look that fails is said and done again. Raises `RuntimeError` when the emulator or the sandbox is gone.
    """
    pause = threading.Event()
    while True:
        try:
            relay.watch()
        except (RuntimeError, ClientError) as error:
            say(f"ingest-watch: {error}")
        except BotoCoreError as error:
            raise RuntimeError(f"the emulator is gone: {error}") from error
        try:
            relay.sandbox.faults()
        except OSError as error:
            raise RuntimeError(f"the sandbox is gone: {error}") from error
        pause.wait(EVERY_S)
