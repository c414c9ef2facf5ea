"""`usage-relay doctor` over the deployed stack, and over a copy of it of which each part is broken once.

The copy is a function of its own with its own queue, dead-letter queue, bucket and secret, made as the template makes them.
Nothing is ever put on its queue, so it is never invoked: breaking it disturbs no other test.
"""

import io
import json
import re
import secrets
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.local.sandbox import sandbox
from infra.local.settings import COMMAND_BINARY, ORG_ID, require
from infra.local.setup import Local
from infra.local.wait import until

DEADLINE_S = 60.0
WAIT_S = "2"
"""What doctor waits for an answer here. A laptop under load answers later than within a second."""
CHECKS = [
    "aws",
    "function",
    "mapping",
    "queue",
    "dead letters",
    "store",
    "secret",
    "m3ter token",
    "m3ter ingest",
    "m3ter reads",
    "clock",
]
QUEUE = {
    "MessageRetentionPeriod": "1209600",
    "VisibilityTimeout": "380",
    "MaximumMessageSize": "1048576",
    "SqsManagedSseEnabled": "true",
}
MAPPING: dict[str, Any] = {
    "BatchSize": 10_000,
    "MaximumBatchingWindowInSeconds": 20,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "ScalingConfig": {"MaximumConcurrency": 4},
}


def _doctor(relay: Local, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [require(COMMAND_BINARY), "doctor", *arguments]
    return subprocess.run(argv, env=relay.environment(), capture_output=True, text=True, timeout=DEADLINE_S)


def _zip() -> bytes:
    """What a function must have, and never runs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bootstrap", "#!/bin/sh\nexit 1\n")
    return packed.getvalue()


@dataclass
class Copy:
    """A relay's surroundings, without a relay."""

    relay: Local
    name: str = field(default_factory=lambda: f"doctor-{secrets.token_hex(4)}")
    settings: dict[str, str] = field(default_factory=dict)
    queue: str = ""
    dead: str = ""
    mapping: str = ""
    dead_mapping: str = ""

    def make(self) -> "Copy":
        """Makes all of it, as the template does."""
        sqs, secretsmanager = self.relay.client("sqs"), self.relay.client("secretsmanager")
        self.dead = sqs.create_queue(QueueName=f"{self.name}-dead", Attributes=QUEUE)["QueueUrl"]
        self.queue = sqs.create_queue(QueueName=self.name, Attributes=QUEUE)["QueueUrl"]
        self.set_queue(RedrivePolicy=self.policy(1000))
        self.relay.client("s3").create_bucket(Bucket=self.name)
        secret = secretsmanager.create_secret(Name=self.name, SecretString=self.relay.sandbox.secret())["ARN"]
        self.settings = {
            "M3TER_ORG_ID": ORG_ID,
            "M3TER_API_URL": self.relay.sandbox.url,
            "M3TER_INGEST_URL": self.relay.sandbox.url,
            "M3TER_SECRET_ARN": secret,
            "STORE_URL": f"s3://{self.name}/relay",
            "QUEUE_URL": self.queue,
            "MAXIMUM_CONCURRENCY": "4",
            "EXHAUST_AFTER_DAYS": "10",
        }
        lambdas = self.relay.client("lambda")
        lambdas.create_function(
            FunctionName=self.name,
            Runtime="provided.al2023",
            Role="arn:aws:iam::000000000000:role/doctor",
            Handler="bootstrap",
            Code={"ZipFile": _zip()},
            Timeout=60,
            Environment={"Variables": self.settings},
        )
        self._settled()
        self.mapping = self._map(self.arn(self.queue))
        self.dead_mapping = self._map(self.arn(self.dead))
        return self

    def _settled(self) -> None:
        """Waits until the function is there, and as it was set last."""

        def settled() -> bool:
            found = self.relay.client("lambda").get_function_configuration(FunctionName=self.name)
            return bool(found["State"] == "Active" and found["LastUpdateStatus"] == "Successful")

        until(settled, f"the function {self.name} is settled", DEADLINE_S)

    def _map(self, arn: str) -> str:
        made = self.relay.client("lambda").create_event_source_mapping(FunctionName=self.name, EventSourceArn=arn, **MAPPING)
        return str(made["UUID"])

    def arn(self, url: str) -> str:
        """The ARN of the queue at `url`."""
        found = self.relay.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def policy(self, receives: int) -> str:
        """A redrive policy to the dead-letter queue."""
        return json.dumps({"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": receives})

    def set_queue(self, **attributes: str) -> None:
        """Sets attributes of the queue."""
        self.relay.client("sqs").set_queue_attributes(QueueUrl=self.queue, Attributes=attributes)

    def set_dead(self, **attributes: str) -> None:
        """Sets attributes of the dead-letter queue."""
        self.relay.client("sqs").set_queue_attributes(QueueUrl=self.dead, Attributes=attributes)

    def set_mapping(self, **changes: Any) -> None:
        """Changes the mapping from the queue."""
        self.relay.client("lambda").update_event_source_mapping(UUID=self.mapping, **changes)

    def set_function(self, **settings: str) -> None:
        """Sets the function's settings to the right ones, but for `settings`."""
        self.replace_settings(self.settings | settings)

    def replace_settings(self, settings: Mapping[str, str]) -> None:
        """Gives the function these settings, and no others."""
        variables = {"Variables": dict(settings)}
        self.relay.client("lambda").update_function_configuration(FunctionName=self.name, Environment=variables)
        self._settled()

    def put_secret(self, content: str) -> None:
        """Puts `content` into the secret."""
        self.relay.client("secretsmanager").put_secret_value(SecretId=self.settings["M3TER_SECRET_ARN"], SecretString=content)

    def look(self, *arguments: str) -> dict[str, list[dict[str, str]]]:
        """What doctor says, by check. Holds its form and its exit code to what they must be."""
        done = _doctor(self.relay, "--function-name", self.name, "--timeout-s", WAIT_S, "--json", *arguments)
        told = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        found: dict[str, list[dict[str, str]]] = {check: [] for check in CHECKS}
        for line in told["checks"]:
            found[line["check"]].append(line)
            assert ("mend" in line) == (line["state"] == "fail"), line
        failed = [line for line in told["checks"] if line["state"] == "fail"]
        assert told["ok"] == (not failed)
        assert done.returncode == (1 if failed else 0)
        assert done.stderr == ("" if not failed else f"usage-relay: {len(failed)} thing{'s' * (len(failed) > 1)} to mend\n")
        assert all(found.values()), f"each check has a line: {found}"
        assert not re.search(r"(?<![0-9a-z])[0-9]{12}(?![0-9a-z])", done.stdout), "an account is never printed"
        return found


@pytest.fixture(scope="module")
def copy(relay: Local) -> Copy:
    """The copy, whole. It ends with the emulator, or stays in one that is not ours, under a name of its own."""
    return Copy(relay).make()


def _failures(found: Mapping[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    only = {check: [line for line in lines if line["state"] != "ok"] for check, lines in found.items()}
    return {check: lines for check, lines in only.items() if lines}


def test_a_deployed_stack_is_well_and_each_check_has_its_line(relay: Local) -> None:
    stacks = relay.client("cloudformation").get_paginator("list_stacks").paginate()
    names = [stack["StackName"] for page in stacks for stack in page["StackSummaries"]]
    stack = next(name for name in names if relay.outputs["FunctionName"].startswith(name))
    done = _doctor(relay, "--stack-name", stack)
    lines = [re.split(r" {2,}", line, maxsplit=2) for line in done.stdout.splitlines()]
    by_check = {line[1]: line for line in lines}
    # Other tests of this run send what ends there.
    assert {line[0] for check, line in by_check.items() if check != "dead letters"} == {"ok"}, done.stdout
    at = CHECKS.index("store")
    assert list(by_check) == [*CHECKS[:at], "files", *CHECKS[at:]], "only a stack names the queue of files"
    assert "\x1b" not in done.stdout, "colour is for terminals"
    assert relay.sandbox.secret().split('"')[-2] not in done.stdout


def test_a_copy_that_is_right_is_well_also_when_the_store_is_written(copy: Copy) -> None:
    found = copy.look("--write")
    assert _failures(found) == {}
    assert found["store"][0]["found"].endswith("can be listed, read and written")


Change = Callable[[Copy], None]

BROKEN: dict[str, tuple[Change, Change, str, str, str]] = {
    "retention": (
        lambda copy: copy.set_queue(MessageRetentionPeriod="345600"),
        lambda copy: copy.set_queue(MessageRetentionPeriod="1209600"),
        "queue",
        "it keeps messages for 4 days",
        "1209600",
    ),
    "visibility": (
        lambda copy: copy.set_queue(VisibilityTimeout="90"),
        lambda copy: copy.set_queue(VisibilityTimeout="380"),
        "queue",
        "comes back after 90 s",
        "VisibilityTimeout to 380",
    ),
    "receives": (
        lambda copy: copy.set_queue(RedrivePolicy=copy.policy(5)),
        lambda copy: copy.set_queue(RedrivePolicy=copy.policy(1000)),
        "queue",
        "after 5 receives",
        "maxReceiveCount to 1000",
    ),
    "encryption": (
        lambda copy: copy.set_queue(SqsManagedSseEnabled="false"),
        lambda copy: copy.set_queue(SqsManagedSseEnabled="true"),
        "queue",
        "it is not encrypted",
        "SqsManagedSseEnabled",
    ),
    "dead letters' retention": (
        lambda copy: copy.set_dead(MessageRetentionPeriod="345600"),
        lambda copy: copy.set_dead(MessageRetentionPeriod="1209600"),
        "dead letters",
        "it keeps messages for 4 days",
        "1209600",
    ),
    "mapping without the flag": (
        lambda copy: copy.set_mapping(FunctionResponseTypes=[]),
        lambda copy: copy.set_mapping(FunctionResponseTypes=["ReportBatchItemFailures"]),
        "mapping",
        "no ReportBatchItemFailures",
        "messages are being lost",
    ),
    "mapping that is off": (
        lambda copy: copy.set_mapping(Enabled=False),
        lambda copy: copy.set_mapping(Enabled=True),
        "mapping",
        "it is Disabl",
        "--enabled",
    ),
    "small batches": (
        lambda copy: copy.set_mapping(BatchSize=10),
        lambda copy: copy.set_mapping(BatchSize=10_000),
        "mapping",
        "at most 10 messages",
        "BatchSize to 10000",
    ),
    "concurrency of the mapping alone": (
        lambda copy: copy.set_mapping(ScalingConfig={"MaximumConcurrency": 50}),
        lambda copy: copy.set_mapping(ScalingConfig={"MaximumConcurrency": 4}),
        "mapping",
        "MaximumConcurrency 50",
        "MaximumConcurrency to 4",
    ),
    "closed store": (
        lambda copy: copy.set_function(STORE_URL="s3://no-such-bucket-anywhere/relay"),
        lambda copy: copy.set_function(),
        "store",
        "NoSuchBucket",
        "s3:ListBucket",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told_with_what_to_do_and_nothing_else_is(copy: Copy, what: str) -> None:
    breaks, mends, check, found, mend = BROKEN[what]
    breaks(copy)
    try:
        failures = _failures(copy.look())
    finally:
        mends(copy)
    assert list(failures) == [check], failures
    (line,) = failures[check]
    assert found in line["found"] and mend in line["mend"], line


def test_a_fifo_queue_is_refused_with_its_reason(copy: Copy) -> None:
    copy.set_function(QUEUE_URL=f"{copy.queue}.fifo")
    try:
        failures = _failures(copy.look())
    finally:
        copy.set_function()
    assert "FIFO" in failures["queue"][0]["found"] and "standard queue" in failures["queue"][0]["mend"]
    assert "nothing feeds the function" in failures["mapping"][0]["found"]


def test_dead_letters_that_wait_are_told(copy: Copy) -> None:
    lambdas = copy.relay.client("lambda")
    lambdas.update_event_source_mapping(UUID=copy.dead_mapping, Enabled=False)
    copy.relay.client("sqs").send_message(QueueUrl=copy.dead, MessageBody="{}")
    try:
        failures = _failures(copy.look())
    finally:
        copy.relay.client("sqs").purge_queue(QueueUrl=copy.dead)
        lambdas.update_event_source_mapping(UUID=copy.dead_mapping, Enabled=True)
    assert list(failures) == ["dead letters"]
    found = [line["found"] for line in failures["dead letters"]]
    assert found == ["nothing drains it, so what it holds is gone after 14 days", "it holds 1 message"]


@pytest.mark.parametrize(
    ("content", "check", "found"),
    [
        ('{"access_key_id":"not-set","api_secret":"x"}', "secret", "as the stack made it"),
        ('{"access_key_id":"key"}', "secret", "does not hold both keys"),
        ("canary", "secret", "does not hold both keys"),
        ('{"access_key_id":"wrong","api_secret":"canary"}', "m3ter token", "m3ter refuses the keys in the secret"),
    ],
)
def test_a_secret_that_is_wrong_is_told_without_its_content(copy: Copy, content: str, check: str, found: str) -> None:
    copy.put_secret(content)
    try:
        failures = _failures(copy.look())
    finally:
        copy.put_secret(copy.relay.sandbox.secret())
    assert next(iter(failures)) == check
    assert found in failures[check][0]["found"]
    assert "canary" not in json.dumps(failures)
    skipped = [name for name, lines in failures.items() if lines[0]["state"] == "skipped"]
    assert skipped == CHECKS[CHECKS.index(check) + 1 : -1], "what needs the keys was not looked at, and the rest was"


def test_another_organisation_than_the_keys_have_is_told(copy: Copy) -> None:
    copy.set_function(M3TER_ORG_ID="another-org")
    try:
        failures = _failures(copy.look())
    finally:
        copy.set_function()
    assert set(failures) == {"m3ter ingest", "m3ter reads"}
    assert "M3terOrgId" in failures["m3ter ingest"][0]["mend"]


def test_a_closed_port_and_a_host_that_never_answers_are_told_in_time_and_the_rest_is_looked_at(copy: Copy) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        copy.set_function(M3TER_API_URL=f"http://127.0.0.1:{port}")
        try:
            hanging = _failures(copy.look())
        finally:
            copy.set_function()
    copy.set_function(M3TER_API_URL=f"http://127.0.0.1:{port}")
    try:
        closed = _failures(copy.look())
    finally:
        copy.set_function()
    assert f"no answer in {WAIT_S} s" in hanging["m3ter token"][0]["found"]
    assert "no connection to m3ter" in closed["m3ter token"][0]["found"]
    for failures in (hanging, closed):
        assert list(failures) == ["m3ter token", "m3ter ingest", "m3ter reads"]
        assert "M3terApiUrl" in failures["m3ter token"][0]["mend"] or "network" in failures["m3ter token"][0]["mend"]


@contextmanager
def _not_m3ter(date: str) -> Iterator[str]:
    """Something that answers everything with a page, and tells `date` as the time."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(b"<html>log in here</html>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("date", "side"),
    [("Mon, 01 Jan 2035 00:00:00 GMT", "behind m3ter"), ("Sat, 01 Jan 2022 00:00:00 GMT", "ahead of m3ter")],
)
def test_a_page_that_is_not_m3ters_and_a_clock_that_is_off_are_told(copy: Copy, date: str, side: str) -> None:
    with _not_m3ter(date) as url:
        copy.set_function(M3TER_API_URL=url)
        try:
            failures = _failures(copy.look())
        finally:
            copy.set_function()
    assert "is not m3ter" in failures["m3ter token"][0]["found"]
    (clock,) = failures["clock"]
    assert side in clock["found"] and "timedatectl" in clock["mend"]


def test_a_function_that_is_not_the_relays_is_told(copy: Copy) -> None:
    copy.replace_settings({"A": "b"})
    try:
        failures = _failures(copy.look())
    finally:
        copy.set_function()
    assert "it has no setting M3TER_ORG_ID, M3TER_SECRET_ARN, STORE_URL, QUEUE_URL" in failures["function"][0]["found"]
    assert {lines[0]["state"] for check, lines in failures.items() if check != "function"} == {"skipped"}


def test_doctor_bills_nothing(copy: Copy, tmp_path: Path) -> None:
    with sandbox(tmp_path) as own:
        copy.put_secret(own.secret())
        copy.set_function(M3TER_API_URL=own.url, M3TER_INGEST_URL=own.url)
        try:
            assert _failures(copy.look()) == {}
        finally:
            copy.set_function()
            copy.put_secret(copy.relay.sandbox.secret())
        ledger = own.ledger()
    assert ledger["measurements"] == []
    assert [ledger["totals"][name] for name in ("requests", "received", "accepted", "ingested")] == [1, 0, 0, 0]


def test_without_aws_credentials_there_is_one_thing_to_do(relay: Local) -> None:
    env = {name: value for name, value in relay.environment().items() if not name.startswith("AWS_ACCESS")}
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    argv = [require(COMMAND_BINARY), "doctor", "--function-name", "any"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL  aws") and "set AWS_PROFILE" in done.stdout.splitlines()[0]
    assert [line[:4] for line in done.stdout.splitlines()[1:]] == ["skip"] * (len(CHECKS) - 1)
