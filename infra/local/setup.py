"""Everything started in order, and stopped in the reverse order, whatever happens in between.

sandbox -> emulator -> stack, with the function in it -> secret.
"""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import function
from infra.local.emulator import Emulator, emulator, failed_invocations
from infra.local.package import shipped
from infra.local.processes import environment
from infra.local.sandbox import Sandbox, sandbox
from infra.local.settings import (
    BULK_UPLOAD_BINARY,
    DEAD_LETTER_BINARY,
    FUNCTION_BINARY,
    INGEST_WATCH_BINARY,
    LOCAL,
    ORG_ID,
    require,
)
from infra.local.stack import client, deployed
from infra.local.steps import say, step

LOGS_KEPT_S = 7 * 24 * 3600
"""How long a run's logs are kept. By age, not by number: the oldest of many may belong to a run that still goes on."""


@dataclass(frozen=True)
class Local:
    """A relay that runs on this machine."""

    emulator: Emulator
    sandbox: Sandbox
    outputs: Mapping[str, str]
    """The stack's outputs, by name."""
    logs: Path

    def client(self, service: str) -> Any:
        """A boto3 client for `service` of the emulator; the same one each time."""
        return _client(self.emulator, service)

    def environment(self) -> dict[str, str]:
        """The environment for a command of ours: the emulator as AWS, the sandbox's credentials, nothing of the user's."""
        return environment(**self.emulator.environment(), **self.sandbox.environment())

    def put_secret(self, content: str) -> None:
        """Replaces the content of the stack's secret, as an operator would."""
        self.client("secretsmanager").put_secret_value(SecretId=self.outputs["SecretArn"], SecretString=content)

    def watch(self) -> dict[str, Any]:
        """Has the deployed ingest-watch do a round, as its schedule would, and returns its answer."""
        name = self.outputs["IngestWatchFunctionName"]
        answered = self.client("lambda").invoke(FunctionName=name, InvocationType="RequestResponse", Payload=b"{}")
        answer: dict[str, Any] = json.loads(answered["Payload"].read())
        if "FunctionError" in answered:
            raise RuntimeError(f"ingest-watch failed: {answer}")
        return answer

    def function_output(self, which: str = function.RELAY) -> list[str]:
        """Every line the function `which` printed, up to its last finished invocation."""
        logs = self.client("logs")
        return function.output(logs, function.log_groups(logs, self.outputs, which))

    def invocations_begun(self) -> set[str]:
        """The id of each invocation that is over, however it ended."""
        logs = self.client("logs")
        return function.begun(logs, function.log_groups(logs, self.outputs))

    def invocations_failed(self) -> Counter[str]:
        """How many invocations failed as a whole, by error type. Only for an emulator that was started here."""
        return failed_invocations(self.logs)

    def function_pids(self, which: str = function.RELAY) -> list[int]:
        """The processes of the function `which`. Only for an emulator that was started here."""
        if self.emulator.files is None:
            raise RuntimeError("the function's processes belong to an emulator that was not started here")
        return function.pids(self.emulator.files, function.code(self.client("lambda"), self.outputs[f"{which}FunctionName"]))


@cache
def _client(emulator: Emulator, service: str) -> Any:
    return client(emulator, service)


@contextmanager
def local(
    name: str,
    parameters: Mapping[str, str] | None = None,
    binary: Path = FUNCTION_BINARY,
    catalogue: Path | None = None,
    token_lifetime_s: int | None = None,
    frees_rejected_uids: bool = False,
    serve: Callable[[Path, Path], AbstractContextManager[Emulator]] = emulator,
) -> Iterator[Local]:
    """A whole relay for the length of the block.

    `name` names the run's folder of logs; `parameters` are put over those that the local set-up needs; `binary` is the
    function to deploy; `catalogue` holds what the sandbox knows at the start, `token_lifetime_s` says how long its tokens
    live, `frees_rejected_uids` whether what it rejected later may come again under its uid. `serve` starts the emulator, given
    the folder for its log and the one for its files.
    """
    logs = _log_folder(name)
    try:
        with ExitStack() as stack:
            files = Path(stack.enter_context(_temporary_folder()))
            with step("start the m3ter sandbox"):
                m3ter = stack.enter_context(sandbox(logs, catalogue, token_lifetime_s, frees_rejected_uids))
            with step("start the AWS emulator"):
                aws = stack.enter_context(serve(logs, files))
            with step("deploy template.yaml"):
                chosen = _parameters(m3ter) | dict(parameters or {})
                functions = {
                    "ingest-relay": binary,
                    "dead-letter": DEAD_LETTER_BINARY,
                    "ingest-watch": INGEST_WATCH_BINARY,
                    "bulk-upload": BULK_UPLOAD_BINARY,
                }
                zips = {name: shipped(require(built)) for name, built in functions.items()}
                outputs = stack.enter_context(deployed(aws, zips, chosen))
                running = Local(emulator=aws, sandbox=m3ter, outputs=outputs, logs=logs)
                stack.callback(_keep_output, running)
                running.put_secret(m3ter.secret())
            yield running
            tidying = time.monotonic()
        say(f"{time.monotonic() - tidying:5.1f} s  stop everything")
    except BaseException:
        say(f"the servers' and the function's output is in {logs}")
        raise


def _parameters(m3ter: Sandbox) -> dict[str, str]:
    return {
        "M3terOrgId": ORG_ID,
        "M3terApiUrl": m3ter.url,
        "M3terIngestUrl": m3ter.url,
        "BatchingWindowSeconds": "1",
        "Architecture": "x86_64",
    }


def _keep_output(running: Local) -> None:
    try:
        files = {
            function.RELAY: "function.log",
            function.DEAD_LETTER: "dead-letter.log",
            function.INGEST_WATCH: "ingest-watch.log",
            function.BULK_UPLOAD: "bulk-upload.log",
        }
        lines = {name: running.function_output(which) for which, name in files.items()}
    except (BotoCoreError, ClientError) as error:
        # Said, not raised: it would stand in front of what ended the block.
        say(f"the function's output could not be read: {error}")
        return
    for name, printed in lines.items():
        (running.logs / name).write_text("".join(f"{line}\n" for line in printed))


@contextmanager
def _temporary_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="usage-relay-", ignore_cleanup_errors=True) as folder:
        yield str(Path(folder).resolve())


def _log_folder(name: str) -> Path:
    logs = LOCAL / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.iterdir():
        if old.stat().st_mtime < time.time() - LOGS_KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-", dir=logs))
