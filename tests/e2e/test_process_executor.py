"""What LocalStack runs functions with, without LocalStack: the runtime API, a program's life, the metrics in what it printed."""

import http.client
import json
import os
import queue
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from infra.local.wait import until
from infra.localstack import __main__ as setting_up
from infra.localstack.plugin.process_executor.embedded import metrics
from infra.localstack.plugin.process_executor.environment import Environment, StartFailed
from infra.localstack.plugin.process_executor.runtime_api import Answered, Asked, Event, NotStarted, RuntimeApi
from infra.localstack.server import PLUGIN

DEADLINE_S = 30.0

PROGRAM = """#!{python}
import http.client, os, signal, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
handled = 0
print("starting", flush=True)
{first}
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    id, body = event.headers["Lambda-Runtime-Aws-Request-Id"], event.read()
    handled += 1
    print("dealing with " + id, flush=True)
    if body == b"crash": os.kill(os.getpid(), signal.SIGKILL)
    if body == b"hang": signal.pause()
    outcome = "error" if body == b"fail" else "response"
    answer = "%d %d %s" % (os.getpid(), handled, os.environ["SETTING"])
    api.request("POST", "/2018-06-01/runtime/invocation/" + id + "/" + outcome, answer.encode())
    api.getresponse().read()
    if body == b"leave": sys.exit(3)
"""
"""A program as a function is one: it answers with its number, how many events it had, and a variable."""

Make = Callable[..., Environment]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes environments of a program whose `first` lines come before it asks for anything."""
    made: list[Environment] = []

    def make(first: str = "", mode: int = stat.S_IRWXU) -> Environment:
        program = tmp_path / "bootstrap"
        program.write_text(PROGRAM.format(python=sys.executable, first=first))
        program.chmod(mode)
        made.append(Environment(program, {"SETTING": "as told"}, tmp_path / "output"))
        return made[-1]

    yield make
    for environment in made:
        environment.stop()


def _event(body: str, request_id: str = "request-1", timeout_s: float = DEADLINE_S) -> Event:
    return Event(request_id, body.encode(), "arn:function", "Root=1", timeout_s)


def test_one_program_deals_with_one_event_after_the_other(make: Make) -> None:
    environment = make()
    environment.start()
    outcomes = [environment.handle(_event("go", f"request-{number}")) for number in (1, 2)]
    [(pid, *first), (same, *second)] = [outcome.body.decode().split(maxsplit=2) for outcome in outcomes]
    assert pid == same
    assert (first, second) == (["1", "as told"], ["2", "as told"])
    assert [outcome.failed for outcome in outcomes] == [False, False]
    assert [outcome.printed for outcome in outcomes] == ["starting\ndealing with request-1\n", "dealing with request-2\n"]


def test_an_answer_that_is_an_error_is_told_as_one(make: Make) -> None:
    environment = make()
    environment.start()
    outcome = environment.handle(_event("fail"))
    assert outcome.failed
    assert outcome.body.endswith(b" 1 as told")


@pytest.mark.parametrize(
    ("word", "timeout_s", "kind"), [("crash", DEADLINE_S, "Runtime.ExitError"), ("hang", 0.5, "Sandbox.Timedout")]
)
def test_a_program_that_dies_or_hangs_is_replaced_for_the_next_event(make: Make, word: str, timeout_s: float, kind: str) -> None:
    environment = make()
    environment.start()
    before = environment.handle(_event("go")).body.split()[0]
    ended = environment.handle(_event(word, "request-2", timeout_s))
    said = json.loads(ended.body)
    assert (ended.failed, said["errorType"]) == (True, kind)
    assert "request-2" in said["errorMessage"]
    assert ended.printed == "dealing with request-2\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(before), 0)
    after = environment.handle(_event("go", "request-3"))
    assert after.body.split()[0] != before
    assert after.body.endswith(b" 1 as told")


def test_a_program_that_ends_right_after_its_answer_has_answered(make: Make) -> None:
    environment = make()
    environment.start()
    outcome = environment.handle(_event("leave"))
    assert not outcome.failed
    assert environment.handle(_event("go")).body.endswith(b" 1 as told")


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        pytest.param("sys.exit(7)", "Runtime.ExitError", id="it ends"),
        pytest.param(
            "api.request('POST', '/2018-06-01/runtime/init/error', b'{\"errorType\":\"No.Setting\"}')",
            "No.Setting",
            id="it says so",
        ),
    ],
)
def test_a_program_that_does_not_start_says_why(make: Make, first: str, kind: str) -> None:
    with pytest.raises(StartFailed) as failed:
        make(first).start()
    assert json.loads(failed.value.body)["errorType"] == kind


def test_a_program_that_cannot_be_run_is_named(make: Make) -> None:
    with pytest.raises(StartFailed, match=r"Runtime\.InvalidEntrypoint.*bootstrap: Permission denied"):
        make(mode=stat.S_IRUSR).start()


def test_stopping_ends_a_start_that_takes_too_long(make: Make) -> None:
    environment = make("signal.pause()")
    failed: queue.Queue[bytes] = queue.Queue()

    def start() -> None:
        try:
            environment.start()
        except StartFailed as error:
            failed.put(error.body)

    thread = threading.Thread(target=start)
    thread.start()
    until(lambda: environment._process is not None, "the program runs", DEADLINE_S)
    environment.stop()
    thread.join(DEADLINE_S)
    assert json.loads(failed.get_nowait())["errorType"] == "Runtime.ExitError"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    """A runtime API that nobody uses but the test."""
    api = RuntimeApi()
    yield api
    api.close()


def _ask(api: RuntimeApi, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection(api.address, timeout=DEADLINE_S)) as connection:
        connection.request(method, path, body, **more)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def test_an_event_is_handed_over_with_what_a_runtime_reads_from_its_headers(api: RuntimeApi) -> None:
    api.events.put(_event('{"a":1}', "request-1", 60))
    before = time.time()
    status, body, headers = _ask(api, "GET", "/2018-06-01/runtime/invocation/next")
    assert (status, body) == (200, b'{"a":1}')
    deadline_ms = int(headers["lambda-runtime-deadline-ms"])
    assert before * 1000 + 59_000 < deadline_ms < time.time() * 1000 + 61_000
    assert headers["lambda-runtime-aws-request-id"] == "request-1"
    assert headers["lambda-runtime-invoked-function-arn"] == "arn:function"
    assert headers["lambda-runtime-trace-id"] == "Root=1"
    assert api.said.get(timeout=DEADLINE_S) == Asked()


def test_what_a_program_says_is_kept_in_order(api: RuntimeApi) -> None:
    for path, body in (("init/error", b"a"), ("invocation/r1/response", b"b"), ("invocation/r2/error", b"c")):
        assert _ask(api, "POST", f"/2018-06-01/runtime/{path}", body)[0] == 202
    said = [api.said.get(timeout=DEADLINE_S) for _ in range(3)]
    assert said == [NotStarted(b"a"), Answered("r1", b"b", failed=False), Answered("r2", b"c", failed=True)]


def test_paths_that_are_not_the_apis_and_answers_in_pieces_are_refused(api: RuntimeApi) -> None:
    assert _ask(api, "GET", "/2018-06-01/runtime/next")[0] == 404
    assert _ask(api, "POST", "/2018-06-01/runtime/invocation/r1/other", b"")[0] == 404
    status, _, _ = _ask(api, "POST", "/2018-06-01/runtime/invocation/r1/response", iter([b"a", b"b"]), encode_chunked=True)
    assert status == 411
    assert api.said.empty()


def test_half_an_answer_is_none(api: RuntimeApi) -> None:
    host, port = api.address.split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as half:
        half.sendall(b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1) == b""
    assert api.said.empty()


def test_the_metrics_of_a_line_are_read_with_their_dimensions_units_and_values() -> None:
    about = {
        "Timestamp": 1_700_000_000_500,
        "CloudWatchMetrics": [
            {
                "Namespace": "UsageRelay",
                "Dimensions": [["Function"], ["Function", "Reason"]],
                "Metrics": [
                    {"Name": "Quarantined", "Unit": "Count"},
                    {"Name": "Latency", "Unit": "Milliseconds"},
                    {"Name": "Gone"},
                ],
            }
        ],
    }
    line = {"_aws": about, "Function": "f", "Reason": "UidMissing", "Quarantined": 2, "Latency": [7, 9], "other": 1}
    printed = "\n".join(["START", '{"level":"info"}', "[1]", '{"_aws":{"CloudWatchMetrics":[{}]}}', json.dumps(line), '{"_aws":'])
    [(namespace, data)] = metrics(printed)
    at = datetime(2023, 11, 14, 22, 13, 20, 500_000, timezone.utc)
    one, two = (
        [{"Name": "Function", "Value": "f"}],
        [{"Name": "Function", "Value": "f"}, {"Name": "Reason", "Value": "UidMissing"}],
    )
    assert namespace == "UsageRelay"
    assert data == [
        {"MetricName": "Quarantined", "Dimensions": one, "Timestamp": at, "Unit": "Count", "Value": 2},
        {"MetricName": "Latency", "Dimensions": one, "Timestamp": at, "Unit": "Milliseconds", "Values": [7, 9]},
        {"MetricName": "Quarantined", "Dimensions": two, "Timestamp": at, "Unit": "Count", "Value": 2},
        {"MetricName": "Latency", "Dimensions": two, "Timestamp": at, "Unit": "Milliseconds", "Values": [7, 9]},
    ]


@pytest.mark.parametrize("ask", ["socket.create_connection(('192.0.2.1', 80))", "socket.gethostbyname('example.com')"])
def test_a_program_beside_the_plugin_reaches_this_machine_only(tmp_path: Path, ask: str) -> None:
    log = tmp_path / "outside"
    lines = f"import socket\nsocket.create_server(('localhost', 0))\n{ask}"
    env = {**os.environ, "PYTHONPATH": str(PLUGIN), "OUTSIDE_LOG": str(log)}
    done = subprocess.run([sys.executable, "-c", lines], env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode != 0
    assert "is not on this machine" in done.stderr
    assert len(log.read_text().splitlines()) == 1


def test_a_python_that_only_says_what_is_missing_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims, real = tmp_path / "shims", tmp_path / "pyenv" / "versions" / f"{setting_up.WANTED}.9" / "bin"
    scripts = {shims: 'echo "command not found" >&2; exit 127', real: f"echo {setting_up.WANTED}"}
    for folder, does in scripts.items():
        folder.mkdir(parents=True)
        (folder / f"python{setting_up.WANTED}").write_text(f"#!/bin/sh\n{does}\n")
        (folder / f"python{setting_up.WANTED}").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(shims), os.environ["PATH"]]))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    found = list(setting_up.candidates())
    assert found[0] == shims / f"python{setting_up.WANTED}"
    assert found[-1] == real / f"python{setting_up.WANTED}"
    assert list(setting_up.usable(iter([found[0], found[-1], tmp_path / "nothing"]))) == [found[-1]]


def test_without_that_python_it_says_that_it_was_skipped(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "infra.localstack"], env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0
    assert done.stdout.startswith("SKIPPED: test-localstack: no Python 3.13 on the PATH or in pyenv")
