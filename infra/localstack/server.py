"""LocalStack as a process of ours, without Docker, on loopback, and with nothing asked of the internet.

It runs with the Python of `.local/localstack`, where `infra/local/install.py` puts it, and finds the executor beside this file by
PYTHONPATH. All that it writes goes to the folder it is given.

What is absent: setting it up. `python -m infra.localstack` does that.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.emulator import LOG_NAME, Emulator, answers, free_port
from infra.local.processes import environment, running
from infra.local.settings import LOCAL
from infra.local.wait import until

PYTHON = LOCAL / "localstack" / "bin" / "python"
PLUGIN = Path(__file__).with_name("plugin")
OUTSIDE_LOG_NAME = "outside.log"
"""What it wanted of other machines, a line each; not there if nothing."""
START_DEADLINE_S = 90.0
"""Longest wait for it to answer. It takes 2 s on an idle machine."""


@contextmanager
def localstack(logs: Path, files: Path) -> Iterator[Emulator]:
    """A LocalStack for the length of the block. Its log goes to `logs`, and what it keeps to `files`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = logs / LOG_NAME
    # No grace when it ends: what it keeps is deleted, and ending politely would take it seconds.
    with running([PYTHON, "-m", "localstack.runtime.main"], _variables(port, files), log, log, grace_s=0) as process:
        until(lambda: answers(url) or process.poll() is not None, f"LocalStack at {url} answers", START_DEADLINE_S)
        if process.poll() is not None:
            raise RuntimeError(f"LocalStack ended with {process.returncode}: see {log}")
        yield Emulator(url=url, files=files, ministack=False)


def pids(files: Path, function: str) -> list[int]:
    """The running processes of the function of this name, oldest first. `files` is the folder that LocalStack was given."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (row.split() for row in listed.splitlines())
    return sorted(int(pid) for pid, *args in rows if args and _is_of(Path(args[0]), files, function))


def _is_of(program: Path, files: Path, function: str) -> bool:
    # FILES/lambda/BUCKET/FUNCTION-UUID/code/bootstrap
    return program.is_relative_to(files) and program.name == "bootstrap" and program.parts[-3].startswith(f"{function}-")


def _variables(port: int, files: Path) -> dict[str, str]:
    place = f"127.0.0.1:{port}"
    kept = {"TMPDIR": files, "FILESYSTEM_ROOT": files / "filesystem", "XDG_CACHE_HOME": files / "cache"}
    return environment(
        **{name: str(folder) for name, folder in kept.items()},
        PYTHONPATH=str(PLUGIN),  # and sitecustomize.py there, which lets it speak to this machine only
        OUTSIDE_LOG=str(files / OUTSIDE_LOG_NAME),
        PYTHONUNBUFFERED="1",
        OVERRIDE_IN_DOCKER="0",  # it must not take a container that this may all run in for its own
        GATEWAY_LISTEN=place,
        GATEWAY_SERVER="hypercorn",  # the usual one listens on every interface, whatever GATEWAY_LISTEN says
        LOCALSTACK_HOST=place,
        DNS_ADDRESS="0",  # no name server
        SKIP_SSL_CERT_DOWNLOAD="1",
        DISABLE_EVENTS="1",  # tells its maker nothing
        LAMBDA_RUNTIME_EXECUTOR="process",
        # Looks at a queue this often while there is something, and no less often than this while there is nothing. The usual
        # values, 1 s and 10 s, would only make tests wait.
        LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC="0.02",
        LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC="0.2",
        SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL="5",  # seconds; usually 60
    )
