"""The deployed function from outside: what it printed, and its process.

Its output arrives in the log group when an invocation is over, also when it was killed; what a process prints between two
invocations arrives with its next one.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
"""Lines that Lambda itself writes around an invocation."""


def log_groups(logs: Any, outputs: Mapping[str, str]) -> list[str]:
    """The log groups that hold what the function printed: the stack's, or, from LocalStack, the one that AWS would make."""
    wanted = {outputs["LogGroupName"], f"/aws/lambda/{outputs['FunctionName']}"}
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/")
    return sorted(wanted & {group["logGroupName"] for page in pages for group in page["logGroups"]})


def output(logs: Any, groups: Sequence[str]) -> list[str]:
    """Every line the function printed so far, oldest first, without Lambda's own. `logs` is a CloudWatch Logs client."""
    found: list[str] = []
    for group in groups:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group):
            found += [line for event in page["events"] for line in event["message"].splitlines()]
    return [line for line in found if not line.startswith(PLATFORM)]


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


def pids(files: Path) -> list[int]:
    """The function's running processes, oldest first: those whose program lies below `files`, the emulator's folder."""
    # `ps` rather than /proc, so that it works on macOS too; -ww: as wide as it gets.
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (row.split(None, 1) for row in listed.splitlines())
    mine = [int(pid) for pid, *args in rows if args and _is_bootstrap(args[0], files)]
    return sorted(mine)


def _is_bootstrap(args: str, files: Path) -> bool:
    # A bootstrap of a test may be a script: then its interpreter comes first.
    return any(word.startswith(f"{files}{os.sep}") and word.endswith("/bootstrap") for word in args.split())
