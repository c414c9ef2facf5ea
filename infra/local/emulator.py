"""The emulator of AWS's API: MiniStack as a process of ours, or one that runs already.

`AWS_ENDPOINT_URL` in the environment names one that runs already (LocalStack in host mode, say). It must be on loopback:
this set-up creates and deletes stacks, and must never do so in a real account. A shell that has sourced what `make up` wrote
does not ask for that: it names that relay's own emulator, for the commands that are tried there, and may have outlived it.

MiniStack needs its own `AWS_ENDPOINT_URL`: it hands that to the functions it runs. Without it their AWS clients would
aim at real AWS. Its temporary files (the function's unpacked zip) go to a folder that is removed with it; that folder's
path is also what the function's processes are known by.

Not as on AWS. MiniStack's mapping hands over at most 10 messages and honours no batching window; its alarms never fire;
when a process dies before it asked for its first event, the function's other processes are ended too.
LocalStack's mapping reads each body that is one JSON value, and hands over what it would write for that: of a key that is
there twice, the function sees one.
"""

import os
import re
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.processes import environment, running
from infra.local.settings import REGION, START_DEADLINE_S
from infra.local.wait import until

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEALTH = "/_localstack/health"
"""Both emulators serve this path."""
MINISTACK_HEALTH = "/_ministack/health"

UP_URL = "USAGE_RELAY_UP_URL"
"""The variable by which a shell tells that `AWS_ENDPOINT_URL` was set for it by what `make up` wrote."""

LOG_NAME = "emulator.log"
FAILED_BATCH = re.compile(r"failed processing SQS batch from \S+ \(errorType=([\w.]+) ")
"""How MiniStack 1.5.33 logs that an event was not dealt with."""
DIED, DIED_STARTING, TIMED_OUT = "Runtime.ExitError", "Runtime.Unknown", "Sandbox.Timedout"
"""Its error types for a process that died in an invocation, for one that died before its first, and for a time-out."""

ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"
"""Emulators take any credentials; these two are the customary ones, and open nothing anywhere."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator."""

    url: str
    files: Path | None
    """Where it unpacks functions; None for one that ran already."""
    ministack: bool
    """Whether it is MiniStack, with MiniStack's peculiarities."""

    @property
    def ours(self) -> bool:
        """Whether it was started here, and ends with the block."""
        return self.files is not None

    def environment(self) -> dict[str, str]:
        """What a process needs to speak to this emulator instead of AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }


@contextmanager
def emulator(logs: Path, files: Path) -> Iterator[Emulator]:
    """The emulator for the length of the block: the one `AWS_ENDPOINT_URL` names, else a MiniStack of our own."""
    url = given()
    if url:
        yield _running_already(url)
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = logs / LOG_NAME
    # No grace when it ends: it keeps nothing, and ending politely would take it 2 s.
    with running([sys.executable, "-m", "ministack"], _variables(port, files), log, log, grace_s=0) as process:
        until(lambda: answers(url) or process.poll() is not None, f"the emulator at {url} answers", START_DEADLINE_S)
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended with {process.returncode}: see {log}")
        yield Emulator(url=url, files=files, ministack=True)


def failed_invocations(logs: Path) -> Counter[str]:
    """How many invocations failed as a whole, by error type. Only for a MiniStack that was started here with these `logs`."""
    return Counter(FAILED_BATCH.findall((logs / LOG_NAME).read_text()))


def given() -> str | None:
    """The emulator that `AWS_ENDPOINT_URL` asks to use, or None when one is to be started."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    return None if url == os.environ.get(UP_URL) else url


def _running_already(url: str) -> Emulator:
    if urlsplit(url).hostname not in LOOPBACK:
        raise ValueError(f"AWS_ENDPOINT_URL is {url}: expected an emulator on loopback, such as http://127.0.0.1:4566")
    if not answers(url):
        raise ValueError(f"AWS_ENDPOINT_URL is {url}, but nothing answers there: start it, or unset AWS_ENDPOINT_URL")
    return Emulator(url=url, files=None, ministack=answers(url, MINISTACK_HEALTH))


def _variables(port: int, files: Path) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    return environment(
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(port),
        MINISTACK_HOST="127.0.0.1",
        MINISTACK_REGION=REGION,
        AWS_ENDPOINT_URL=url,
        TMPDIR=str(files),
        SFTP_ENABLED="0",  # these two would listen on ports of their own
        IOT_MTLS_ENABLED="0",
        SERVICES="cloudformation,cloudwatch,iam,lambda,logs,s3,secretsmanager,sqs,sts",
        PYTHONUNBUFFERED="1",
    )


def free_port() -> int:
    """A port of loopback on which nothing listened a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(url: str, path: str = HEALTH) -> bool:
    """Whether an emulator at `url` is ready for use."""
    # Proxies of the environment must not be asked for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
