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
from urllib.parse import urlsplit

import boto3
import pytest

from infra.local import function
from infra.local.emulator import emulator
from infra.local.package import package
from infra.local.processes import running
from infra.local.settings import ROOT
from infra.local.setup import Local, local
from infra.local.stack import _template
from infra.local.wait import TooLate, until

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0


def test_the_stack_is_deployed_with_the_template_but_for_the_place_of_the_zip() -> None:
    original = (ROOT / "template.yaml").read_text().splitlines()
    changed = [(a, b) for a, b in zip(original, _template("s3://bucket/key").splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][1].split("#")[0].strip() == "CodeUri: s3://bucket/key"


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


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sign: sign.name)
def test_a_signal_stops_everything_that_was_started(sign: signal.Signals, tmp_path: Path) -> None:
    with _up(tmp_path) as (process, said):
        places = _exports(said)
        queue = boto3.client(
            "sqs",
            endpoint_url=places["AWS_ENDPOINT_URL"],
            region_name=places["AWS_REGION"],
            aws_access_key_id=places["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=places["AWS_SECRET_ACCESS_KEY"],
        )
        queue.send_message(QueueUrl=places["QUEUE_URL"], MessageBody="{}")
        functions = until(lambda: function.pids(tmp_path), "the function's process is there", START_DEADLINE_S)
        assert _listens(places["AWS_ENDPOINT_URL"])
        assert _listens(places["SANDBOX_URL"])

        process.send_signal(sign)
        assert process.wait(STOP_DEADLINE_S) == 130

        assert not any(_alive(pid) for pid in functions)
        assert not _listens(places["AWS_ENDPOINT_URL"])
        assert not _listens(places["SANDBOX_URL"])
        assert list(tmp_path.glob("usage-relay-*")) == []


@contextmanager
def _up(temporary: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`python -m infra.local up`, ready, with its temporary files below `temporary`."""
    with tempfile.NamedTemporaryFile(dir=temporary, prefix="said-") as said:
        env = {**os.environ, "TMPDIR": str(temporary)}
        env.pop("AWS_ENDPOINT_URL", None)
        with running([sys.executable, "-m", "infra.local", "up"], env, Path(said.name), temporary / "errors") as process:
            until(lambda: "# ready" in Path(said.name).read_text(), "the set-up is ready", START_DEADLINE_S)
            yield process, Path(said.name)


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
