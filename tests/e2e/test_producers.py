"""The producers that docs/PRODUCERS.md shows: it shows the very files, and those that can run here send usage that counts once.

Go, Java and Rust would need toolchains and SDKs that nothing else here needs; the document says that they are not run.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from infra.local.settings import LOCAL, ROOT
from infra.local.setup import Local
from tests.e2e import messages, sdk, usage

DOCUMENT = ROOT / "docs" / "PRODUCERS.md"
PRODUCERS = ROOT / "docs" / "producers"
LIMITS = ROOT / "crates" / "relay-core" / "src" / "limits.rs"
REASONS = ROOT / "crates" / "relay-core" / "src" / "reason.rs"
NODE_PACKAGES = LOCAL / "node" / "node_modules"
TOOLS = Path(sys.executable).parent
"""Where `aws` and `node` are, beside this very Python."""
AWS = """#!/bin/sh
exec {aws} --endpoint-url "$AWS_ENDPOINT_URL" "$@"
"""
"""Version 1 of the CLI, which is the one on PyPI, takes no notice of `AWS_ENDPOINT_URL` for SQS. Version 2 does."""

METER = "api_calls"
"""The meter that the producers name."""
COUNT = 250
"""Measurements of a run: more than two messages hold."""
DEADLINE_S = 120.0
"""Longest wait for a producer. The CLI takes 2 s here."""

Used = list[dict[str, Any]]


@pytest.fixture(scope="module")
def api_calls(relay: Local) -> str:
    """The id of the meter that the producers name."""
    return sdk.create_meter(relay.sandbox, METER, ["calls"])


def _used(mark: str) -> Used:
    start = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    at = [(start + timedelta(seconds=number)).isoformat() for number in range(COUNT)]
    return [{"order": mark, "line": number, "customer": mark, "at": at[number], "calls": number / 4} for number in range(COUNT)]


def _as_json(used: Used) -> str:
    return "\n".join(json.dumps(each) for each in used)  # no line feed ends the last line: it counts all the same


def _as_words(used: Used) -> str:
    return "\n".join(" ".join(str(value) for value in each.values()) for each in used)


def _python(_folder: Path) -> list[str | Path]:
    return [sys.executable, PRODUCERS / "python.py"]


def _node(folder: Path) -> list[str | Path]:
    if not NODE_PACKAGES.is_dir():
        raise FileNotFoundError(f"{NODE_PACKAGES} is not there: run the tests through `make test`, which installs it")
    # Node looks for packages beside the file.
    (folder / "node_modules").symlink_to(NODE_PACKAGES)
    return [TOOLS / "node", shutil.copy(PRODUCERS / "node.mjs", folder)]


def _aws_cli(folder: Path) -> list[str | Path]:
    (folder / "aws").write_text(AWS.format(aws=shlex.quote(str(TOOLS / "aws"))))
    (folder / "aws").chmod(0o755)
    return ["sh", PRODUCERS / "aws-cli.sh"]


Run = Callable[[Used, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=[(_python, _as_json), (_node, _as_json), (_aws_cli, _as_words)], ids=["python", "node", "aws-cli"])
def run(request: pytest.FixtureRequest, relay: Local, tmp_path: Path) -> Run:
    """Runs a producer that is given this usage and sends it to this queue."""
    command, given = request.param
    argv, env = command(tmp_path), relay.environment()
    env["PATH"] = os.pathsep.join([str(tmp_path), env["PATH"]])

    def run(used: Used, queue_url: str) -> "subprocess.CompletedProcess[str]":
        told = env | {"QUEUE_URL": queue_url}
        return subprocess.run(argv, env=told, input=given(used), capture_output=True, text=True, timeout=DEADLINE_S)

    return run


def test_what_a_producer_sends_counts_once_also_when_it_is_run_again(relay: Local, api_calls: str, mark: str, run: Run) -> None:
    used = _used(mark)
    for copies in (1, 2):
        done = run(used, relay.outputs["QueueUrl"])
        assert done.returncode == 0, done.stderr
        messages.until_settled(relay)
        states = ["ingested", "duplicate"][:copies]
        assert usage.states(relay, mark) == {f"{mark}/line-{number}": states for number in range(COUNT)}
    assert usage.quarantined(relay, mark) == []
    arrived = [line["measurement"] for line in relay.sandbox.ledger()["measurements"] if line["account"] == mark]
    told = {each["uid"]: (each["meter"], each["ts"], each["measure"]) for each in arrived}
    assert told == {f"{mark}/line-{each['line']}": (METER, each["at"], {"calls": each["calls"]}) for each in used}


def test_a_producer_that_cannot_send_says_so_and_fails(relay: Local, mark: str, run: Run) -> None:
    done = run(_used(mark), relay.outputs["QueueUrl"] + "-that-is-not-there")
    assert done.returncode != 0
    assert "NonExistentQueue" in done.stderr or "QueueDoesNotExist" in done.stderr


def test_the_document_shows_each_producer_as_its_file_is() -> None:
    shown = re.findall(r"\[producers/([\w.-]+)\]\(producers/\1\)[^\n]*\n\n```\w+\n(.*?)```\n", DOCUMENT.read_text(), re.DOTALL)
    assert dict(shown) == {path.name: path.read_text() for path in PRODUCERS.iterdir()}
    assert len(shown) == 6


def test_the_documents_table_has_each_reason_of_the_relay_once() -> None:
    reasons = re.findall(r'Reason::\w+ => "(\w+)",', REASONS.read_text())
    assert len(reasons) > 20, "are they elsewhere now?"
    rows = re.findall(r"^\| `([A-Z]\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(reasons)


def test_the_documents_limits_are_the_relays() -> None:
    numbers = {name: int(number.replace("_", "")) for name, number in _constants()}
    envelope = len('{"measurements":[') + len("]}")
    expected = {
        f"| measurement | {numbers['BATCH_BYTES_MAX'] - envelope:,} bytes |",
        f"| `uid` | 1 to {numbers['UID_CHARS_MAX']} characters |",
        f"| `meter`, `account`, code of a data field | 1 to {numbers['CODE_CHARS_MAX']} characters |",
        f"| measurements in a message | {numbers['MESSAGE_MEASUREMENTS_MAX']:,} |",
        f"| nesting | {numbers['JSON_DEPTH_MAX']} levels |",
    }
    rows = {line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")}
    assert {row for row in expected if not any(line.startswith(row) for line in rows)} == set()


def _constants() -> list[tuple[str, str]]:
    return re.findall(r"pub const (\w+): usize = ([\d_]+);", LIMITS.read_text())
