"""One execution environment: a program that deals with one event after the other, and what it printed meanwhile.

The program stays between events, as on AWS: what it keeps in memory is there for the next one. When it dies, or takes longer than
it may and is killed, that event has failed, and the next one is given to a new program.

The program is in the same process group as this one: whoever ends that group ends it too.
"""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .runtime_api import Answered, Asked, Ended, Event, NotStarted, RuntimeApi, Said


class StartFailed(Exception):
    """The program could not be started, or said that it cannot start. `body` says why, as Lambda would."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body.decode(errors="replace"))
        self.body = body


@dataclass(frozen=True)
class Outcome:
    """What came of one event."""

    body: bytes
    failed: bool
    printed: str
    """What the program printed since the event before."""


class Environment:
    """A program and its runtime API; nothing runs before `start`. One event at a time."""

    def __init__(self, program: Path, variables: Mapping[str, str], output: Path) -> None:
        self._program, self._variables, self._output = program, variables, output
        self._read = 0
        self._api: RuntimeApi | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        """Whether it has asked for an event that it was not given yet."""

    def start(self) -> None:
        """Starts the program, and waits until it asks for its first event. Raises `StartFailed`.

        How long it may take is for the caller to say: `stop`, from another thread, ends the wait.
        """
        self._api = api = RuntimeApi()
        variables = {**self._variables, "AWS_LAMBDA_RUNTIME_API": api.address}
        try:
            with self._output.open("ab") as output:
                self._process = process = subprocess.Popen(
                    [self._program],
                    cwd=self._program.parent,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
        except OSError as error:  # not there, not executable, or for another kind of processor
            raise StartFailed(_fault("Runtime.InvalidEntrypoint", f"{self._program.name}: {error.strerror}")) from error
        threading.Thread(target=lambda: api.said.put(Ended(process.wait())), name="process-waiter", daemon=True).start()
        said: Said = api.said.get()
        self._asked = isinstance(said, Asked)
        if self._asked:
            return
        self._kill()
        if isinstance(said, NotStarted):
            raise StartFailed(said.body)
        status = said.status if isinstance(said, Ended) else "unknown"
        raise StartFailed(_fault("Runtime.ExitError", f"Runtime exited with status {status} before it asked for an event"))

    def handle(self, event: Event) -> Outcome:
        """Has the program deal with `event`. Raises `StartFailed` if it had ended and could not be started again."""
        if not self._asks(event.timeout_s):
            self._kill()
            self.start()
        body, failed = self._answer(event)
        return Outcome(body, failed, self._printed())

    def stop(self) -> None:
        """Ends the program. It may be called twice, and while another thread waits for the program."""
        self._kill()

    def _asks(self, timeout_s: float) -> bool:
        """Whether the program asks for an event, or does within this time: after an answer it may work on, or end."""
        while self._api is not None and not self._asked:
            try:
                said = self._api.said.get(timeout=timeout_s)
            except queue.Empty:
                return False
            if isinstance(said, Ended):
                return False
            self._asked = isinstance(said, Asked)
        return self._process is not None and self._process.poll() is None

    def _answer(self, event: Event) -> tuple[bytes, bool]:
        assert self._api is not None
        self._asked = False
        self._api.events.put(event)
        end = time.monotonic() + event.timeout_s
        while True:
            try:
                said = self._api.said.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self._kill()
                return _fault("Sandbox.Timedout", f"Task timed out after {event.timeout_s:.2f} seconds", event), True
            if isinstance(said, Ended):
                self._kill()
                return _fault("Runtime.ExitError", f"Runtime exited with status {said.status}", event), True
            if isinstance(said, Answered) and said.request_id == event.request_id:
                return said.body, said.failed

    def _kill(self) -> None:
        self._asked = False
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # does nothing when it is known to have ended
            process.wait()
        api, self._api = self._api, None
        if api is not None:
            api.close()

    def _printed(self) -> str:
        with self._output.open("rb") as output:
            output.seek(self._read)
            new = output.read()
        self._read += len(new)
        return new.decode(errors="replace")


def _fault(kind: str, message: str, event: Event | None = None) -> bytes:
    """What Lambda itself answers for a program that did not."""
    of = f"RequestId: {event.request_id} Error: " if event else ""
    return json.dumps({"errorType": kind, "errorMessage": f"{of}{message}"}).encode()
