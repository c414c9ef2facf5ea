"""The stack in an operator's hands: deployed, upgraded, rolled back and uninstalled with the commands that the README has.

The emulator is in AWS's place, through AWS's own tools: `sam deploy` uploads, makes change sets and waits as it would.
"""

import base64
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra import deploy as infra_deploy
from infra.local import emulator
from infra.local.build import this_architecture
from infra.local.package import package
from infra.local.processes import environment
from infra.local.settings import COMMAND_BINARY, LAMBDA, LOCAL, ORG_ID, REGION, ROOT, TEMPLATE
from infra.local.setup import Local
from infra.local.stack import _number_the_concurrency, _reachable, store_place
from infra.local.wait import until
from tests.e2e import messages, readme, usage
from tests.e2e.template import FUNCTIONS, load

COMMAND_DEADLINE_S = 120.0
"""Longest wait for one of the README's commands. `sam deploy` takes 10 s here, and looks every 5 s whether it is over."""
ARRIVES_DEADLINE_S = 60.0
OPERATING = "docs/OPERATING.md"
NAMED = "STACK=usage-relay REGION=eu-west-1"
"""How the documents call the stack."""
IN_FLIGHT_MS = 500
"""How long m3ter takes to answer while the stack changes, so that nearly always something is on its way."""

pytestmark = pytest.mark.usefixtures("meter")


@dataclass(frozen=True)
class Operator:
    """Somebody with a shell, a clone of the repository, and an account."""

    relay: Local
    home: Path
    stack: str
    done: list[str] = field(default_factory=list)
    """What the last deployment said; nothing when there is no stack."""

    def environment(self) -> dict[str, str]:
        """What the shell has: the README's tools on the PATH, and credentials."""
        tools = [self.home / "bin", COMMAND_BINARY.parent, Path(os.environ["PATH"])]
        path = os.pathsep.join(map(str, tools))
        return environment(**self.relay.emulator.environment() | {"HOME": str(self.home), "PATH": path})

    def run(self, script: str) -> str:
        """Runs `script` as it would be pasted into a shell in the repository, up to the first failure; returns what it says."""
        return self._said(["bash", "-euo", "pipefail", "-c", script])

    def deploy(self, tree: Path = ROOT, settings: str = "") -> Local:
        """Runs what `make deploy` does when all is built, with the template of `tree`; returns what is running then.

        m3ter is the sandbox, and a message whose invocation died comes back soon.
        """
        m3ter = f"M3terApiUrl={self.relay.sandbox.url} M3terIngestUrl={self.relay.sandbox.url}"
        chosen = f"{m3ter} BatchingWindowSeconds=1 FunctionTimeoutSeconds=5 {settings}"
        argv = [sys.executable, "-m", "infra.deploy", "--org", ORG_ID, "--stack", self.stack, "--region", REGION]
        argv += ["--architecture", this_architecture(), "--set", chosen, "--template", str(tree / TEMPLATE.name)]
        self.done[:] = [self._said(argv)]
        return self.running()

    def paste(self, script: str) -> str:
        """Runs `script` in a shell that has what the last deployment said to paste."""
        variables = "\n".join(re.findall(r"^export .*$", self.done[0], re.MULTILINE))
        return self.run(f"{variables}\n{script}")

    def uninstall(self) -> None:
        """Does what the README says."""
        [script] = readme.commands("Uninstall")
        self.run(self.named(script))

    def delete_what_stays(self) -> None:
        """Does what docs/OPERATING.md says."""
        [script] = readme.commands("Delete what stays", OPERATING)
        self.paste(script)
        self.done.clear()

    def named(self, script: str) -> str:
        """`script` with this stack's name and region in place of those that the documents have."""
        assert NAMED in script
        return script.replace(NAMED, f"STACK={self.stack} REGION={REGION}")

    def _said(self, argv: list[str]) -> str:
        env, limit = self.environment(), COMMAND_DEADLINE_S
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=limit)
        assert done.returncode == 0, f"{argv[-1]}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def running(self) -> Local:
        """The relay that the last deployment says it made."""
        found = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", self.done[0], re.MULTILINE))
        names = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): name for name in load()["Outputs"]}
        outputs = {name: found[variable] for variable, name in names.items() if variable in found}
        if self.relay.emulator.ministack:
            _number_the_concurrency(self.relay.emulator, outputs["FunctionName"])
        moved = _reachable(self.relay.emulator, outputs)
        return Local(emulator=self.relay.emulator, sandbox=self.relay.sandbox, outputs=moved, logs=self.relay.logs)


@pytest.fixture
def operator(relay: Local, tmp_path: Path, mark: str) -> Iterator[Operator]:
    """An operator whose `aws` is told where AWS is: its version 1 does not look at the environment for all of its services."""
    aws = tmp_path / "bin" / "aws"
    aws.parent.mkdir()
    aws.write_text(f'#!/bin/sh\nexec {LOCAL}/venv/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    aws.chmod(0o755)
    found = Operator(relay, tmp_path, f"t-{mark.rpartition('-')[2]}")
    yield found
    if found.done:
        found.uninstall()
        found.delete_what_stays()


@contextmanager
def usage_all_the_time(relay: Local, mark: str) -> Iterator[list[str]]:
    """Sends messages one after the other for the length of the block, each when m3ter has the one before; yields their ids."""
    sent: list[str] = []
    over, failures = threading.Event(), list[BaseException]()

    def arrived_or_over(uid: str) -> bool:
        return over.is_set() or relay.sandbox.arrived(uid)

    def send() -> None:
        try:
            while not over.is_set():
                sent.extend(messages.send(relay, [messages.body([usage.measurement(mark, len(sent))])]))
                newest = f"{mark}-{len(sent) - 1}"
                until(partial(arrived_or_over, newest), f"m3ter has {newest}", ARRIVES_DEADLINE_S)
        except BaseException as error:
            failures.append(error)

    relay.sandbox.add_fault({"fault": {"kind": "delay", "delay_ms": IN_FLIGHT_MS}})
    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: failures or len(sent) > 1, "usage flows", ARRIVES_DEADLINE_S)
        yield sent
    finally:
        over.set()
        sender.join()
        relay.sandbox.clear_faults()
    assert failures == []


def another_version(of: Path, at: Path) -> Path:
    """A tree whose ingest-relay is another file that does the same: what is behind a program's end, nothing reads."""
    for name in (TEMPLATE.name, "LICENSE", "README.md"):
        shutil.copy(of / name, at / name)
    shutil.copytree(LAMBDA, at / "target" / "lambda")
    binary = at / "target" / "lambda" / "ingest-relay" / "bootstrap"
    binary.write_bytes(binary.read_bytes() + b"another version")
    binary.parent.with_suffix(".zip").write_bytes(package(binary))
    return at


def code(relay: Local) -> str:
    """What the deployed ingest-relay is, as a hash."""
    answer = relay.client("lambda").get_function_configuration(FunctionName=relay.outputs["FunctionName"])
    return str(answer["CodeSha256"])


def variable(relay: Local, name: str) -> str:
    """A setting that the deployed ingest-relay has."""
    answer = relay.client("lambda").get_function_configuration(FunctionName=relay.outputs["FunctionName"])
    return str(answer["Environment"]["Variables"][name])


def inventory(relay: Local) -> set[str]:
    """All that costs money or holds usage in the account, but for the bucket that `sam` has everywhere."""
    buckets = {bucket["Name"] for bucket in relay.client("s3").list_buckets()["Buckets"]}
    functions = {found["FunctionName"] for found in relay.client("lambda").list_functions()["Functions"]}
    kept = {found["Name"] for found in relay.client("secretsmanager").list_secrets()["SecretList"]}
    groups = {found["logGroupName"] for found in relay.client("logs").describe_log_groups()["logGroups"]}
    alarms = {found["AlarmName"] for found in relay.client("cloudwatch").describe_alarms()["MetricAlarms"]}
    roles = {found["RoleName"] for found in relay.client("iam").list_roles()["Roles"]}
    found = {*queues(relay), *buckets, *functions, *kept, *groups, *alarms, *roles}
    return {name for name in found if not name.startswith("aws-sam-cli-managed-default")}


def queues(relay: Local) -> set[str]:
    """The paths of all queues: their addresses differ by who asks."""
    return {urlsplit(url).path for url in relay.client("sqs").list_queues().get("QueueUrls", [])}


def verify(operator: Operator) -> None:
    """Does what the README says is next after a deployment, and sees what it says is seen."""
    [_, told, shown] = readme.commands("Deploy")
    keys = '{"access_key_id":"…","api_secret":"…"}'
    assert keys in told
    seen = operator.paste(told.replace(keys, operator.relay.sandbox.secret()))
    doctor = seen[seen.index("ok ") :]
    assert [line.split("  ")[0] + line[6:21] for line in doctor.splitlines()] == [
        line.split("  ")[0] + line[6:21] for line in shown.splitlines()
    ]


def test_an_upgrade_and_a_roll_back_under_load_lose_nothing_and_count_once(operator: Operator, mark: str, tmp_path: Path) -> None:
    relay = operator.deploy()
    verify(operator)
    before = code(relay)
    assert before == base64.b64encode(hashlib.sha256((LAMBDA / "ingest-relay.zip").read_bytes()).digest()).decode()
    (tmp_path / "tree").mkdir()
    newer = another_version(ROOT, tmp_path / "tree")
    with usage_all_the_time(relay, mark) as sent:
        begun = len(sent)
        assert operator.deploy(newer, "RequestsPerSecond=20").outputs == relay.outputs
        upgraded = len(sent)
        assert upgraded > begun, "expected usage to flow while the stack changed"
        assert code(relay) != before
        assert variable(relay, "REQUESTS_PER_SECOND") == "20"
        until(lambda: len(sent) > upgraded, "usage flows on", ARRIVES_DEADLINE_S)
        operator.deploy()
        rolled_back = len(sent)
        assert code(relay) == before
        assert variable(relay, "REQUESTS_PER_SECOND") == "20", "expected what was set to stay as it was"
        until(lambda: len(sent) > rolled_back, "usage flows on", ARRIVES_DEADLINE_S)
    messages.until_settled(relay)
    usage.assert_counted_once(relay, mark, len(sent))


def test_the_queue_can_be_paused_and_resumed_as_the_documents_say(operator: Operator, mark: str) -> None:
    relay = operator.deploy()
    relay.put_secret(relay.sandbox.secret())
    pause, resume = readme.commands("Pause and resume", OPERATING)
    operator.paste(pause)
    usage.send(relay, mark, count=1, per_message=1)
    assert messages.waiting(relay)["visible"] == 1
    operator.paste(pause.splitlines()[0] + "\n" + resume)
    messages.until_settled(relay)
    usage.assert_counted_once(relay, mark, 1)


def test_uninstalling_leaves_what_the_readme_says_and_deleting_that_leaves_nothing(operator: Operator, mark: str) -> None:
    before = inventory(operator.relay)
    relay = operator.deploy()
    # Nobody told it m3ter's keys: so this stays in the queue.
    usage.send(relay, mark, count=1, per_message=1)
    operator.uninstall()
    left = {urlsplit(relay.outputs[url]).path for url in ("QueueUrl", "DeadLetterQueueUrl")} | {store_place(relay.outputs)[0]}
    assert inventory(relay) - before == left
    assert sum(messages.waiting(relay).values()) == 1
    retained = {resource["Type"] for resource in load()["Resources"].values() if resource.get("DeletionPolicy") == "Retain"}
    # Their policies stay and go with them.
    assert retained - {"AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"} == {"AWS::SQS::Queue", "AWS::S3::Bucket"}
    operator.delete_what_stays()
    assert inventory(operator.relay) == before


def test_what_is_missing_or_wrong_is_said_all_at_once_before_anything_is_built() -> None:
    argv = ["make", "deploy", "STACK=1st", "SET=LedgerMod=uids Architecture=arm64 oops", f"PYTHON={sys.executable}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "compil" not in (done.stdout + done.stderr).lower()
    said = done.stderr.splitlines()
    assert said[0].startswith("ORG is missing: must be an organisation id")
    assert said[1].startswith("STACK is '1st': must be 1 to 40 letters")
    assert said[2] == "REGION is missing: must be a region of AWS, such as eu-west-1."
    assert said[3].startswith("SET has 'oops': must be NAME=VALUE")
    assert said[4] == f"for example: {infra_deploy.DEPLOY}"


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_a_shell_that_sourced_what_make_up_wrote_deploys_nothing(more: tuple[str, ...]) -> None:
    url = "http://127.0.0.1:9"
    argv = [sys.executable, "-m", "infra.deploy", "--org", ORG_ID, "--stack", "usage-relay", "--region", REGION, *more]
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | {"AWS_ENDPOINT_URL": url, emulator.UP_URL: url}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", f"{infra_deploy.LOCAL_SHELL}\n")
    assert not infra_deploy.is_local({"AWS_ENDPOINT_URL": url}), "an emulator that was asked for by itself"
    assert not infra_deploy.is_local({"AWS_ENDPOINT_URL": "http://127.0.0.1:8", emulator.UP_URL: url})
    assert not infra_deploy.is_local({})


def test_make_runs_what_these_tests_run() -> None:
    argv = ["make", "-n", "deploy", *infra_deploy.DEPLOY.split()[2:], "SET=LedgerMode=uids"]
    # These tests may themselves be run by a `make`, whose flags would make this one tell which folders it enters.
    unmade = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(argv, cwd=ROOT, env=unmade, capture_output=True, text=True, check=True)
    ran = shown.stdout.splitlines()
    [org, stack, region] = [word.partition("=")[2] for word in infra_deploy.DEPLOY.split()[2:]]
    asked = ["--org", org, "--stack", stack, "--region", region, "--set", "LedgerMode=uids"]
    assert shlex.split(ran[-1])[1:] == ["-m", "infra.deploy", *asked, "--architecture", this_architecture()]
    built = [line for line in ran if "infra.local.build" in line]
    assert [shlex.split(line)[-3:] for line in built] == [["--architecture", this_architecture(), name] for name in FUNCTIONS]


def test_the_documents_name_the_three_parameters_as_they_are() -> None:
    [asked, told, _] = readme.commands("Deploy")
    assert asked == f"{re.sub('ORG=[^ ]+', 'ORG=YOUR-ORGANISATION', infra_deploy.DEPLOY)}\n"
    assert told.startswith(infra_deploy.SECRET)
