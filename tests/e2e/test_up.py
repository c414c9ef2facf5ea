"""`make up` and `make down`: what is printed works as it is pasted, and `down` stops everything, and nobody else's."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from infra.local import schedule, up
from infra.local.processes import born, end, running
from infra.local.sandbox import Sandbox
from infra.local.settings import ROOT
from infra.local.wait import until

DEADLINE_S = 60.0
"""Longest wait for one thing here. A paste takes 1 s."""
UP_DEADLINE_S = 300.0
"""Longest wait for `up`, which has shorter ones of its own. It takes 5 s here, and ten times that on a laden machine."""

Run = subprocess.CompletedProcess[str]
Process = tuple[int, str]
"""A process's number, and when it was started."""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}


def _say(word: str, folder: Path) -> Run:
    argv = [sys.executable, "-m", "infra.local", word, "--folder", folder]
    return subprocess.run(argv, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=UP_DEADLINE_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tests' own: a relay that somebody left running is none of theirs."""
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def printed(folder: Path) -> Iterator[str]:
    """What `make up` printed; the relay runs while the tests do. Afterwards `make down` must stop all of it, and say so."""
    done = _say("up", folder)
    try:
        assert done.returncode == 0, done.stderr
        processes = _recorded(folder)
        assert len(processes) == 3, "expected the supervisor, the sandbox and the emulator"
        assert _alive(processes) == processes
        yield done.stdout
    finally:
        stopped = _say("down", folder)
    assert (stopped.returncode, stopped.stderr) == (0, "the local relay was stopped\n")
    assert _alive(processes) == []
    assert sorted(path.name for path in folder.iterdir()) == ["up.lock", "up.log"]


@pytest.fixture(scope="module")
def places(printed: str, folder: Path) -> dict[str, str]:
    """The variables that a shell has once it sourced what the first lines name."""
    shown = subprocess.run(["sh", "-c", f"{_paste(printed, 'In each shell')}\nenv"], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def _paste(printed: str, title: str) -> str:
    """The lines for a shell below the comment that has `title` in it."""
    [block] = [block for block in printed.split("\n\n") if re.search(rf"^# .*{re.escape(title)}", block, re.MULTILINE)]
    return block


def _in_a_shell(printed: str, title: str) -> str:
    lines = f"{_paste(printed, 'In each shell')}\n{_paste(printed, title)}"
    done = subprocess.run(["sh", "-c", lines], cwd="/", env=_environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _sandbox(places: dict[str, str]) -> Sandbox:
    return Sandbox(places["SANDBOX_URL"], places["M3TER_ACCESS_KEY_ID"], places["M3TER_API_SECRET"])


@pytest.mark.parametrize("title", ["Send with Python", "Send with Node", "Send with the AWS CLI"])
def test_what_is_pasted_twice_arrives_and_counts_once(printed: str, places: dict[str, str], title: str) -> None:
    [uid] = re.findall(r'"uid": "([^"]+)"', _paste(printed, title))
    sandbox = _sandbox(places)

    def states() -> list[str]:
        return [line["state"] for line in sandbox.ledger()["measurements"] if line["uid"] == uid]

    _in_a_shell(printed, title)
    until(lambda: states() == ["ingested"], f"{uid} arrives", DEADLINE_S)
    _in_a_shell(printed, title)
    until(lambda: states() == ["ingested", "duplicate"], f"{uid} arrives again", DEADLINE_S)


def test_the_command_sends_and_explains_and_m3ter_counts(printed: str, places: dict[str, str]) -> None:
    before = _sandbox(places).totals()["ingested"]
    assert _in_a_shell(printed, "Send a thousand").startswith("sent 1,000 measurements")
    until(lambda: _sandbox(places).totals()["ingested"] >= before + 1_000, "a thousand arrive", DEADLINE_S)
    assert json.loads(_in_a_shell(printed, "What does m3ter say"))["totals"]["ingested"] >= 1_000

    [uid] = re.findall(r"usage-relay explain (\S+)", printed)
    assert uid in _paste(printed, "Send with Python")
    _in_a_shell(printed, "Send with Python")
    until(lambda: _sandbox(places).arrived(uid), f"{uid} arrives", DEADLINE_S)
    # The ledger is written after m3ter has answered.
    explained = until(lambda: _explained(printed), f"{uid} is in the ledger", DEADLINE_S)
    assert "m3ter accepted it" in explained


def _explained(printed: str) -> str:
    lines = f"{_paste(printed, 'In each shell')}\n{_paste(printed, 'What became of')}"
    done = subprocess.run(["sh", "-c", lines], env=_environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    return done.stdout if done.returncode == 0 else ""


def test_ingest_watch_looks_by_itself(places: dict[str, str]) -> None:
    bucket, _, prefix = places["STORE_URL"].removeprefix("s3://").partition("/")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
    key_id, secret, region, url = (places[name] for name in names)
    s3 = boto3.client("s3", region, endpoint_url=url, aws_access_key_id=key_id, aws_secret_access_key=secret)

    def cursor() -> Any:
        return s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/watch/v1/cursor.json").get("Contents")

    first = until(cursor, "it has looked", DEADLINE_S)[0]["LastModified"]
    until(lambda: cursor()[0]["LastModified"] > first, "it has looked again", DEADLINE_S)


def test_the_console_is_there_with_what_was_printed(printed: str, tmp_path: Path) -> None:
    lines = f"{_paste(printed, 'In each shell')}\n{_paste(printed, 'See it happen')}"
    with running(["sh", "-c", lines], _environment(), tmp_path / "said", tmp_path / "errors") as console:
        url = until(
            lambda: re.findall(r"http://127\.0\.0\.1:\d+\S*", (tmp_path / "said").read_text()), "it says where", DEADLINE_S
        )[0]
        assert console.poll() is None, (tmp_path / "errors").read_text()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=DEADLINE_S) as answer:
            assert b"<html" in answer.read()


def test_up_again_says_that_it_runs_and_how_to_use_it(printed: str, folder: Path) -> None:
    again = _say("up", folder)
    assert (again.returncode, again.stdout) == (0, printed)
    assert "the local relay is running already" in again.stderr


def test_a_shell_that_sourced_the_variables_does_not_choose_the_emulator_of_other_commands(places: dict[str, str]) -> None:
    assert places["AWS_ENDPOINT_URL"] == places["USAGE_RELAY_UP_URL"]
    asked = f"import os; from infra.local import emulator; os.environ.update({places!r}); print(emulator.given())"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@contextmanager
def _half_way(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[Process]]]:
    """An `up` that has started the servers and deploys, and what is recorded by then."""
    said, errors = folder / "said", folder / "errors"
    argv = [sys.executable, "-m", "infra.local", "up", "--folder", folder]
    with running(argv, _environment(), said, errors) as starting:
        until(lambda: "start the AWS emulator" in errors.read_text(), "the emulator runs", DEADLINE_S)
        processes = _recorded(folder)
        assert len(processes) == 3, "expected the supervisor, the sandbox and the emulator"
        assert _alive(processes) == processes
        yield starting, processes
    assert said.read_text() == ""


def test_an_up_that_is_interrupted_stops_what_it_started(tmp_path: Path) -> None:
    with _half_way(tmp_path) as (starting, processes):
        starting.send_signal(signal.SIGINT)
        assert starting.wait(DEADLINE_S) == 130
        assert _alive(processes) == []
        assert up.read(up.Files(tmp_path)) is None


def test_down_stops_what_an_up_that_was_killed_leaves_half_started(tmp_path: Path) -> None:
    with _half_way(tmp_path) as (starting, processes):
        starting.kill()
        starting.wait(DEADLINE_S)
        assert _alive(processes) == processes
        assert _say("down", tmp_path).stderr == "the local relay was stopped\n"
        assert _alive(processes) == []


def test_down_stops_what_a_killed_supervisor_leaves(tmp_path: Path) -> None:
    with _half_way(tmp_path) as (starting, processes):
        starting.kill()
        os.kill(processes[0][0], signal.SIGKILL)
        until(lambda: _alive(processes) == processes[1:], "the supervisor is gone, and the servers are not", DEADLINE_S)
        assert list(tmp_path.glob("up.tmp/*"))
        assert _say("down", tmp_path).stderr == "the local relay was stopped\n"
        assert _alive(processes) == []
        assert sorted(path.name for path in tmp_path.glob("up.*")) == ["up.lock", "up.log"]


def test_an_up_whose_supervisor_dies_says_so_and_stops_the_rest(tmp_path: Path) -> None:
    with _half_way(tmp_path) as (starting, processes):
        os.kill(processes[0][0], signal.SIGKILL)
        assert starting.wait(DEADLINE_S) == 1
        assert "the local relay ended before it was ready: see" in (tmp_path / "errors").read_text()
        assert _alive(processes) == []
        assert up.read(up.Files(tmp_path)) is None


def test_down_with_nothing_to_stop_says_so(tmp_path: Path) -> None:
    done = _say("down", tmp_path)
    assert (done.returncode, done.stderr) == (0, "nothing to stop: the local relay does not run\n")
    assert list(tmp_path.iterdir()) == []


class _Gone:
    """A relay whose looks and whose sandbox answer or fail as listed."""

    def __init__(self, looks: list[Exception | None], sandbox: list[Exception | None]) -> None:
        self.sandbox = self
        self._looks, self._sandbox = iter(looks), iter(sandbox)

    def watch(self) -> None:
        """A look."""
        self._next(self._looks)

    def faults(self) -> None:
        """What the sandbox is asked to see whether it is there."""
        self._next(self._sandbox)

    def _next(self, outcomes: Iterator[Exception | None]) -> None:
        failed = next(outcomes)
        if failed:
            raise failed


@pytest.mark.parametrize(
    ("looks", "sandbox", "gone"),
    [
        (
            [RuntimeError("a look failed"), EndpointConnectionError(endpoint_url="http://127.0.0.1:1")],
            [None],
            "the emulator is gone",
        ),
        ([None, RuntimeError("a look failed")], [None, ConnectionRefusedError()], "the sandbox is gone"),
    ],
)
def test_a_look_that_fails_is_done_again_and_a_server_that_is_gone_ends_it(
    monkeypatch: pytest.MonkeyPatch, looks: list[Exception | None], sandbox: list[Exception | None], gone: str
) -> None:
    monkeypatch.setattr(schedule, "EVERY_S", 0)
    with pytest.raises(RuntimeError, match=gone):
        schedule.keep(cast(Any, _Gone(looks, sandbox)))


def test_a_process_that_was_given_the_number_of_one_that_ended_is_left_alone(tmp_path: Path) -> None:
    with running(["tail", "-f", "/dev/null"], _environment()) as stranger:
        files = up.Files(tmp_path)
        since = born(stranger.pid)
        up.Record([(stranger.pid, "another time")]).write(files)
        assert not end(stranger.pid, "another time")
        assert _say("down", tmp_path).stderr == "the local relay had ended by itself\n"
        assert born(stranger.pid) == since
        assert up.read(files) is None


def test_a_supervisor_whose_starter_is_gone_does_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "infra.local", "supervise", "--folder", tmp_path]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert list(tmp_path.iterdir()) == []


def test_when_it_was_started_tells_a_process_from_another_and_from_none() -> None:
    with running(["tail", "-f", "/dev/null"], _environment()) as process:
        since = born(process.pid)
        assert since is not None
        assert born(process.pid) == since
        assert born(os.getpid()) != since
    assert born(process.pid) is None


def _recorded(folder: Path) -> list[Process]:
    record = up.read(up.Files(folder))
    assert record is not None
    return record.processes


def _alive(processes: list[Process]) -> list[Process]:
    return [(pid, since) for pid, since in processes if born(pid) == since]
