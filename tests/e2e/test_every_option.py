"""The stack with every option on, deployed beside the one with none: an existing queue, a key, a VPC, tracing, a topic.

MiniStack takes all of it and keeps most of what it was told, so this shows that the template says it. It forgets at once in which
VPC a function should be and how a bucket should be encrypted (test_options.py reads those in the template), draws no trace, and
lets no alarm tell its topic. Its policies refuse nobody, or the relay here, which speaks plain http to it, would get nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from infra.local.build import this_architecture
from infra.local.package import package
from infra.local.settings import LAMBDA, ORG_ID, require
from infra.local.setup import Local
from infra.local.stack import deployed
from tests.e2e import messages, usage
from tests.e2e.template import FUNCTIONS
from tests.e2e.test_options import GROUPS, KEY, SUBNETS, TOPIC

pytestmark = pytest.mark.usefixtures("meter")


@dataclass(frozen=True)
class Theirs:
    """What was there before the stack, and the stack."""

    relay: Local
    queue: str
    """The queue's ARN."""


@pytest.fixture(scope="module")
def theirs(relay: Local) -> Iterator[Theirs]:
    """Somebody's queue, and a relay that was told of it, and of a key, a topic and a network that MiniStack does not ask for."""
    sqs = relay.client("sqs")
    url = sqs.create_queue(QueueName="their-usage", Attributes={"VisibilityTimeout": "361"})["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    parameters = {
        "M3terOrgId": ORG_ID,
        "M3terApiUrl": relay.sandbox.url,
        "M3terIngestUrl": relay.sandbox.url,
        "BatchingWindowSeconds": "1",
        "Architecture": this_architecture(),
        "ExistingQueueArn": queue,
        "KmsKeyArn": KEY,
        "AlarmTopicArn": TOPIC,
        "SubnetIds": SUBNETS,
        "SecurityGroupIds": GROUPS,
        "Tracing": "Active",
        "PayloadBuckets": "their-payloads,more-of-them",
    }
    zips = {name: package(require(LAMBDA / name / "bootstrap")) for name in FUNCTIONS}
    with deployed(relay.emulator, zips, parameters) as outputs:
        running = Local(emulator=relay.emulator, sandbox=relay.sandbox, outputs=outputs, logs=relay.logs)
        running.put_secret(relay.sandbox.secret())
        yield Theirs(running, queue)


def _function(relay: Local, which: str) -> dict[str, Any]:
    found: dict[str, Any] = relay.client("lambda").get_function_configuration(FunctionName=relay.outputs[f"{which}FunctionName"])
    return found


def test_usage_on_an_existing_queue_travels_the_whole_way(theirs: Theirs, mark: str) -> None:
    assert theirs.relay.outputs["QueueArn"] == theirs.queue
    assert theirs.relay.outputs["QueueUrl"].endswith("/000000000000/their-usage")
    measurements = [usage.measurement(mark, number) for number in range(3)]
    del measurements[1]["meter"]
    messages.send(theirs.relay, [messages.body(measurements)])
    messages.until_settled(theirs.relay)
    assert usage.states(theirs.relay, mark) == {f"{mark}-{number}": ["ingested"] for number in (0, 2)}
    assert [entry["reason"] for entry in usage.quarantined(theirs.relay, mark)] == ["MeterMissing"]


def test_no_other_queue_may_put_its_dead_letters_beside_theirs(theirs: Theirs) -> None:
    sqs, url = theirs.relay.client("sqs"), theirs.relay.outputs["DeadLetterQueueUrl"]
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [theirs.queue]}
    assert json.loads(told["RedriveAllowPolicy"]) == allowed
    assert told["KmsMasterKeyId"] == KEY and told["SqsManagedSseEnabled"] == "false"


def test_the_own_queue_is_the_one_that_the_dead_letter_queue_allows(relay: Local) -> None:
    sqs, attributes = relay.client("sqs"), {}
    for which in ("QueueUrl", "DeadLetterQueueUrl"):
        attributes[which] = sqs.get_queue_attributes(QueueUrl=relay.outputs[which], AttributeNames=["All"])["Attributes"]
    queue, dead = attributes["QueueUrl"], attributes["DeadLetterQueueUrl"]
    assert json.loads(queue["RedrivePolicy"])["deadLetterTargetArn"] == dead["QueueArn"]
    assert json.loads(dead["RedriveAllowPolicy"])["sourceQueueArns"] == [queue["QueueArn"]]


def test_nothing_of_an_existing_queue_is_changed(theirs: Theirs) -> None:
    sqs = theirs.relay.client("sqs")
    told = sqs.get_queue_attributes(QueueUrl=theirs.relay.outputs["QueueUrl"], AttributeNames=["All"])["Attributes"]
    assert told["VisibilityTimeout"] == "361" and not {"Policy", "RedrivePolicy"} & told.keys()


@pytest.mark.parametrize("which", ["", "DeadLetter", "IngestWatch", "BulkUpload"])
def test_every_function_is_traced(theirs: Theirs, which: str) -> None:
    assert _function(theirs.relay, which)["TracingConfig"] == {"Mode": "Active"}


def test_the_secret_is_encrypted_with_their_key(theirs: Theirs) -> None:
    secret = theirs.relay.client("secretsmanager").describe_secret(SecretId=theirs.relay.outputs["SecretArn"])
    assert secret["KmsKeyId"] == KEY


def test_every_alarm_tells_their_topic(theirs: Theirs) -> None:
    named = theirs.relay.outputs["DashboardName"].rsplit("-Dashboard-", 1)[0]
    pages = theirs.relay.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{named}-")
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    assert len(alarms) > 30
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC] for alarm in alarms)


def test_without_options_nothing_of_them_is_there(relay: Local) -> None:
    told = _function(relay, "")
    assert not told.get("VpcConfig", {}).get("SubnetIds") and told["TracingConfig"] == {"Mode": "PassThrough"}
    bucket = relay.outputs["StoreUrl"].split("/")[2]
    assert relay.client("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    [statement] = json.loads(relay.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_look_that_fails_is_not_tried_again_by_lambda(relay: Local) -> None:
    name = relay.outputs["IngestWatchFunctionName"]
    told = relay.client("lambda").get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")
    assert told["MaximumRetryAttempts"] == 0
