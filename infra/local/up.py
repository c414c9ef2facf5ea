"""Leaves a local relay running: `make up` starts it, `make down` stops it, and each may be said twice.

What runs is a supervisor: this program in a session of its own, which starts everything else and stops it again when it is
told to end. What `down` needs is written down before it is needed: each process with its number and with when it was
started, since a number alone may be a stranger's by then.

The supervisor begins only when its starter says so, which is after that was written. So nothing runs unrecorded, also when
`make up` is killed half way; and when the supervisor itself was killed, `down` finds what it left.

What is absent: starting anything again that ended. The supervisor then stops the rest and says why in its log.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.local import guide, schedule
from infra.local.processes import born, end, note_each
from infra.local.settings import CATALOGUE, LOCAL, ROOT
from infra.local.setup import local
from infra.local.steps import say
from infra.local.wait import until

READY_DEADLINE_S = 240.0
"""Longest wait for everything to be there. It takes 4 s; each part has a deadline of its own, which says more."""
STOP_DEADLINE_S = 30.0
"""How long the supervisor may take to stop everything in order. It takes 1 s."""


@dataclass(frozen=True)
class Files:
    """What a running relay keeps in the folder `where`. Another folder is another relay: tests have one of their own."""

    where: Path = LOCAL

    @property
    def record(self) -> Path:
        """What runs, as JSON."""
        return self.where / "up.json"

    @property
    def env(self) -> Path:
        """Variables for a shell to source."""
        return self.where / "up.env"

    @property
    def log(self) -> Path:
        """What the supervisor said."""
        return self.where / "up.log"

    @property
    def temporary(self) -> Path:
        """The supervisor's folder for temporary files. Here, so that `down` finds them when it was killed."""
        return self.where / "up.tmp"

    @property
    def lock(self) -> Path:
        """Held by one `up` at a time, for as long as it starts."""
        return self.where / "up.lock"


@dataclass
class Record:
    """What runs: the supervisor, and after it all that it started, each a number and when it was started."""

    processes: list[tuple[int, str]] = field(default_factory=list)
    guide: str = ""
    """How to use it; empty until everything is there."""

    def add(self, pid: int) -> None:
        """Adds a process. One that ended before it could be looked at needs no stopping."""
        since = born(pid)
        if since is not None:
            self.processes.append((pid, since))

    def supervised(self) -> bool:
        """Whether its supervisor is still there."""
        return bool(self.processes) and born(self.processes[0][0]) == self.processes[0][1]

    def write(self, files: Files) -> None:
        """Writes it so that a reader finds all of it, or what was there before."""
        new = files.record.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2))
        new.replace(files.record)


def read(files: Files) -> Record | None:
    """What was written down last, or None when nothing runs."""
    try:
        content: dict[str, Any] = json.loads(files.record.read_text())
    except FileNotFoundError:
        return None
    return Record([(pid, since) for pid, since in content["processes"]], content["guide"])


def up(files: Files) -> int:
    """Starts what does not run yet, and prints how to use it. 1 when it could not be started."""
    files.where.mkdir(parents=True, exist_ok=True)
    with _alone(files):
        record = read(files)
        if record is not None and record.supervised():
            say("the local relay is running already")
            return _ready(files, record.processes[0])
        if record is not None:
            _stop(files, record)  # what a killed supervisor left
        return _start(files)


def down(files: Files) -> int:
    """Stops what runs, however far it came."""
    record = read(files)
    if record is None:
        say("nothing to stop: the local relay does not run")
        return 0
    stopped = _stop(files, record)
    say("the local relay was stopped" if stopped else "the local relay had ended by itself")
    return 0


def supervise(files: Files) -> int:
    """What is left running: everything, until SIGTERM. Waits for its starter to write down that it is there."""
    if not sys.stdin.buffer.read(1):
        return 1  # the starter is gone
    record = read(files) or Record()

    def note(pid: int) -> None:
        record.add(pid)
        record.write(files)

    note_each(note)
    try:
        with local("up", catalogue=CATALOGUE) as relay:
            files.env.write_text(guide.exports(relay))
            record.guide = guide.guide(relay, files.env)
            record.write(files)
            schedule.keep(relay)
    finally:
        _forget(files)


def _start(files: Files) -> int:
    argv = [sys.executable, "-m", "infra.local", "supervise", "--folder", str(files.where)]
    files.temporary.mkdir(exist_ok=True)
    env = {**os.environ, "TMPDIR": str(files.temporary)}
    with files.log.open("wb") as log:
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    record = Record()
    try:
        record.add(process.pid)
        record.write(files)
        if process.stdin is not None:
            process.stdin.write(b"!")
            process.stdin.close()
        code = _ready(files, record.processes[0], process)
    except BaseException:
        _stop(files, read(files) or record)
        process.wait()
        raise
    if code != 0:
        _stop(files, read(files) or record)
    return code


def _ready(files: Files, supervisor: tuple[int, str], child: "subprocess.Popen[bytes] | None" = None) -> int:
    """Waits for everything to be there, saying what the supervisor says, and prints how to use it."""
    said = 0

    def look() -> Record | bool:
        nonlocal said
        if child is not None:
            child.poll()
            text = files.log.read_text()
            sys.stderr.write(text[said:])
            said = len(text)
        record = read(files)
        if record is not None and record.guide:
            return record
        return born(supervisor[0]) != supervisor[1]

    found = until(look, "the local relay is ready", READY_DEADLINE_S)
    if not isinstance(found, Record):
        say(f"the local relay ended before it was ready: see {files.log}")
        return 1
    print(found.guide, flush=True)
    return 0


def _stop(files: Files, record: Record) -> bool:
    """Ends the supervisor, which ends the rest; then what it could not. True if anything was there to end."""
    graces = [STOP_DEADLINE_S] + [5.0] * len(record.processes)
    stopped = [end(pid, since, grace) for (pid, since), grace in zip(record.processes, graces, strict=False)]
    late = read(files)  # what it started between the first look and its end
    for pid, since in late.processes if late else []:
        stopped.append(end(pid, since))
    _forget(files)
    return any(stopped)


def _forget(files: Files) -> None:
    shutil.rmtree(files.temporary, ignore_errors=True)
    for path in (files.env, files.record):
        path.unlink(missing_ok=True)


@contextmanager
def _alone(files: Files) -> Iterator[None]:
    """One at a time: a second waits until the first has said how it went."""
    with files.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
