"""The deployed function from outside: what it printed, and its process.

Its output arrives in the log group when an invocation is over, also when it was killed; what a process prints between two
invocations arrives with its next one.
"""

import base64
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RELAY, DEAD_LETTER, INGEST_WATCH, BULK_UPLOAD = "", "DeadLetter", "IngestWatch", "BulkUpload"
"""What the outputs of each function begin with in the template: `FunctionName`, `DeadLetterFunctionName` and so on."""
FUNCTIONS = (RELAY, DEAD_LETTER, INGEST_WATCH, BULK_UPLOAD)

BEGINS = "START RequestId: "
"""What Lambda writes before an invocation's own lines, followed by its id and a version."""
PLATFORM = (BEGINS, "END RequestId:", "REPORT RequestId:")
"""Lines that Lambda itself writes around an invocation."""


def log_groups(logs: Any, outputs: Mapping[str, str], which: str = RELAY) -> list[str]:
    """The log groups of what the function `which` printed: the stack's, or, from LocalStack, the one that AWS would make."""
    wanted = {outputs[f"{which}LogGroupName"], f"/aws/lambda/{outputs[f'{which}FunctionName']}"}
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/")
    return sorted(wanted & {group["logGroupName"] for page in pages for group in page["logGroups"]})


def output(logs: Any, groups: Sequence[str]) -> list[str]:
    """Every line the function printed so far, oldest first, without Lambda's own. `logs` is a CloudWatch Logs client."""
    return [line for line in _lines(logs, groups) if not line.startswith(PLATFORM)]


def begun(logs: Any, groups: Sequence[str]) -> set[str]:
    """The ids of all invocations that are over, also of those that were killed. `logs` is a CloudWatch Logs client."""
    return {line.removeprefix(BEGINS).split()[0] for line in _lines(logs, groups) if line.startswith(BEGINS)}


def _lines(logs: Any, groups: Sequence[str]) -> list[str]:
    found: list[str] = []
    for group in groups:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group):
            found += [line for event in page["events"] for line in event["message"].splitlines()]
    return found


def invocations(lines: list[str]) -> list[dict[str, Any]]:
    """The JSON lines among `lines` that account for one invocation each."""
    parsed = (json.loads(line) for line in lines if line.startswith("{"))
    return [line for line in parsed if line.get("message") == "invocation"]


def sums(lines: list[str]) -> Counter[str]:
    """The sum of each count over all invocations among `lines`."""
    found: Counter[str] = Counter()
    for line in invocations(lines):
        found.update({name: value for name, value in line.items() if isinstance(value, int)})
    return found


def code(lambdas: Any, name: str) -> str:
    """The SHA-256 of a function's zip, in hexadecimal digits. `lambdas` is a Lambda client."""
    return base64.b64decode(lambdas.get_function_configuration(FunctionName=name)["CodeSha256"]).hex()


def pids(files: Path, code: str = "") -> list[int]:
    """Functions' running processes, oldest first: those whose program lies below `files`, the emulator's folder.

    Only those of one function, if its `code` is given: MiniStack unpacks each zip into a folder that is named so.
    """
    # `ps` rather than /proc, so that it works on macOS too; -ww: as wide as it gets.
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (row.split(None, 1) for row in listed.splitlines())
    mine = [int(pid) for pid, *args in rows if args and _is_bootstrap(args[0], files, f"{code}/bootstrap")]
    return sorted(mine)


def _is_bootstrap(args: str, files: Path, ending: str) -> bool:
    # A bootstrap of a test may be a script: then its interpreter comes first.
    return any(word.startswith(f"{files}{os.sep}") and word.endswith(ending) for word in args.split())
