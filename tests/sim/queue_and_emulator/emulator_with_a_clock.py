"""MiniStack whose queues read the time from a file: milliseconds since 1970.

The emulator is as installed and its calls are real; only its clock stands still until the file says otherwise. So visibility
timeouts and days of retention pass in no time, and to the millisecond. A call that waits for messages would wait for ever.

The last argument names the file; MiniStack's own settings come by environment.
"""

import sys
import time
from pathlib import Path

from ministack.app import main
from ministack.services import sqs


class Clock:
    """What the queues take for the module `time`."""

    file = Path(sys.argv.pop())

    @classmethod
    def time(cls) -> float:
        """Seconds since 1970, as the file has it."""
        return int(cls.file.read_text()) / 1_000


if sqs.time is not time:
    sys.exit("expected MiniStack's queues to read the time from the module `time`")
sqs.time = Clock
main()
