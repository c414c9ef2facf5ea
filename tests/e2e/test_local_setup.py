"""The set-up itself: what it starts is really there, and nothing of it stays behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local import function
from infra.local.emulator import emulator
from infra.local.package import package
from infra.local.processes import running
from infra.local.sandbox import Sandbox
from infra.local.settings import ROOT
from infra.local.setup import Local, local
from infra.local.stack import _template
from infra.local.wait import TooLate, until

START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 30.0


def test_the_stack_is_deployed_with_the_template_but_for_the_places_of_the_zips() -> None:
    original = (ROOT / "template.yaml").read_text().splitlines()
    zips = {name: f"s3://bucket/{name}" for name in ("ingest-relay", "dead-letter", "ingest-watch", "bulk-upload")}
    template = _template(zips).splitlines()
    changed = [(a, b) for a, b in zip(original, template, strict=True) if a != b]
    places = [(name.split()[1], place.split()[1]) for name, place in changed]
    assert places == [(f"target/lambda/{name}.zip", place) for name, place in zips.items()]


def test_the_secret_is_known_by_its_arn(relay: Local) -> None:
    assert relay.outputs["SecretArn"].startswith("arn:aws:secretsmanager:")
    value = relay.client("secretsmanager").get_secret_value(SecretId=relay.outputs["SecretArn"])
    assert json.loads(value["SecretString"]) == json.loads(relay.sandbox.secret())


def test_the_same_binary_gives_the_same_zip(tmp_path: Path) -> None:
    binary = tmp_path / "program"
    binary.write_bytes(b"#!/bin/sh\n")
    first = package(binary)
    os.utime(binary, (0, 0))
    assert package(binary) == first


def test_a_condition_that_never_holds_is_named() -> None:
    with pytest.raises(TooLate, match=r"not within 0\.1 s: the moon is blue"):
        until(lambda: False, "the moon is blue", 0.1)


def test_an_endpoint_that_is_not_on_loopback_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://sqs.eu-west-1.amazonaws.com")
    with pytest.raises(ValueError, match="expected an emulator on loopback"), emulator(tmp_path, tmp_path):
        pass


def test_an_emulator_that_runs_already_is_used_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch, relay: Local) -> None:
    before = _inventory(relay)
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.emulator.url)
    with local("shared") as second:
        assert second.emulator.url == relay.emulator.url
        assert second.outputs["QueueUrl"] != relay.outputs["QueueUrl"]
        assert set(before) < set(_inventory(relay))
    assert _inventory(relay) == before


def _inventory(relay: Local) -> list[str]:
    queues = relay.client("sqs").list_queues()["QueueUrls"]
    buckets = [bucket["Name"] for bucket in relay.client("s3").list_buckets()["Buckets"]]
    functions = [found["FunctionName"] for found in relay.client("lambda").list_functions()["Functions"]]
    secrets = [found["Name"] for found in relay.client("secretsmanager").list_secrets()["SecretList"]]
    groups = [found["logGroupName"] for found in relay.client("logs").describe_log_groups()["logGroups"]]
    return sorted([*queues, *buckets, *functions, *secrets, *groups])


def test_a_process_that_ignores_sigterm_is_stopped_with_its_children(tmp_path: Path) -> None:
    said = tmp_path / "said"
    stubborn = "trap '' TERM; tail -f /dev/null & echo $!; wait"
    with running(["sh", "-c", stubborn], {"PATH": os.environ["PATH"]}, said, grace_s=0.5) as process:
        child = int(until(said.read_text, "the child's process id is written", START_DEADLINE_S))
        assert _alive(process.pid)
        assert _alive(child)
    assert not _alive(process.pid)
    until(lambda: not _alive(child), "the child is gone", STOP_DEADLINE_S)


def test_a_failure_stops_everything_that_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    urls: list[str] = []
    with pytest.raises(RuntimeError, match="the test's own failure"), local("failure") as relay:
        urls = [relay.emulator.url, relay.sandbox.url]
        assert all(_listens(url) for url in urls)
        raise RuntimeError("the test's own failure")
    assert not any(_listens(url) for url in urls)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sign: sign.name)
def test_a_signal_stops_everything_that_was_started(sign: signal.Signals, tmp_path: Path) -> None:
    with _up(tmp_path, "# ready") as (process, said):
        places = _exports(said)
        _send_as_told(said)
        functions = until(lambda: function.pids(tmp_path), "the function's process is there", START_DEADLINE_S)
        assert _listens(places["AWS_ENDPOINT_URL"])
        assert _listens(places["SANDBOX_URL"])

        process.send_signal(sign)
        assert process.wait(STOP_DEADLINE_S) == 130

        assert not any(_alive(pid) for pid in functions)
        assert not _listens(places["AWS_ENDPOINT_URL"])
        assert not _listens(places["SANDBOX_URL"])
        assert list(tmp_path.glob("usage-relay-*")) == []


def test_a_signal_in_the_middle_of_the_start_stops_what_runs_by_then(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with _up(tmp_path, "start the AWS emulator", errors) as (process, _):
        started = _children(process.pid)
        assert len(started) == 2, "expected the sandbox and the emulator"
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_DEADLINE_S) == 130
        assert "deploy template.yaml: failed" in errors.read_text()
        assert not any(_alive(pid) for pid in started)
        assert list(tmp_path.glob("usage-relay-*")) == []


def test_what_serve_prints_works_as_it_is(tmp_path: Path) -> None:
    with _up(tmp_path, "# ready") as (_, said):
        places = _exports(said)
        _send_as_told(said)

        def totals() -> dict[str, Any]:
            sandbox = Sandbox(places["SANDBOX_URL"], places["M3TER_ACCESS_KEY_ID"], places["M3TER_API_SECRET"])
            return sandbox.totals()

        until(lambda: totals()["accepted"] == 1_000, "all made-up measurements are accepted", START_DEADLINE_S)
        assert (totals()["ingested"], totals()["rejected"]) == (1_000, {})


def _send_as_told(said: Path) -> None:
    """Does in another shell what the output says, as it says it."""
    [example] = re.findall(r"^# +(usage-relay send .*)$", said.read_text(), re.MULTILINE)
    subprocess.run(["sh", "-c", f". {said}; {example}"], check=True, capture_output=True, timeout=START_DEADLINE_S)


@contextmanager
def _up(temporary: Path, word: str, file: Path | None = None) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`python -m infra.local serve`, with its temporary files below `temporary`, when it has said `word`.

    It says so on standard output unless `file` is where its standard error goes.
    """
    said, errors = temporary / "said", temporary / "errors"
    env = {**os.environ, "TMPDIR": str(temporary)}
    env.pop("AWS_ENDPOINT_URL", None)
    with running([sys.executable, "-m", "infra.local", "serve"], env, said, errors) as process:
        until(lambda: word in (file or said).read_text(), f"the set-up says: {word}", START_DEADLINE_S)
        yield process, said


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = (row.split() for row in listed.splitlines())
    return [int(pid) for pid, ppid in rows if int(ppid) == parent]


def _exports(said: Path) -> dict[str, str]:
    return dict(re.findall(r"^export ([A-Z_0-9]+)='?([^'\n]*)'?$", said.read_text(), re.MULTILINE))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return not state.startswith("Z") and state != ""


def _listens(url: str) -> bool:
    place = urlsplit(url)
    with socket.socket() as sock:
        return sock.connect_ex((place.hostname or "", place.port or 0)) == 0
