"""What can be switched on in `template.yaml`, each both ways: an existing queue, a key, a VPC, tracing, a topic for alarms."""

import json
import re
from typing import Any

import pytest

from tests.e2e import template as stack
from tests.e2e.template import FUNCTIONS, properties, refused, resolved, statements

QUEUE = "arn:aws:sqs:eu-west-1:111122223333:their-usage"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:on-call"
SUBNETS, GROUPS = "subnet-0a1b2c3d,subnet-4e5f6a7b", "sg-0a1b2c3d"
EVERYTHING = {
    "ExistingQueueArn": QUEUE,
    "KmsKeyArn": KEY,
    "AlarmTopicArn": TOPIC,
    "SubnetIds": SUBNETS,
    "SecurityGroupIds": GROUPS,
    "Tracing": "Active",
}
"""A value for every option."""

ON_EVERY_RESOURCE = {
    "HaveLambdaConnectItToTheVpc": [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    ],
    "WriteTraces": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
}
"""The only statements for every resource. Lambda refuses a role that has those of EC2 for fewer, and X-Ray knows no resources."""

ENCRYPTED = {
    "Queue": "KmsMasterKeyId",
    "DeadLetterQueue": "KmsMasterKeyId",
    "UploadQueue": "KmsMasterKeyId",
    "UploadDeadLetterQueue": "KmsMasterKeyId",
    "Secret": "KmsKeyId",
    **{f"{name}LogGroup": "KmsKeyId" for name in FUNCTIONS.values()},
}
"""What a key of one's own is for, besides the bucket, and under which name each takes it."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return stack.load()


def _sids(template: dict[str, Any], function: str) -> set[str]:
    return {statement["Sid"] for statement in statements(template, function)}


def test_each_option_is_off_unless_it_is_chosen_and_a_condition_follows_it(template: dict[str, Any]) -> None:
    off = {name: template["Parameters"][name]["Default"] for name in EVERYTHING}
    assert off == dict.fromkeys(EVERYTHING, "") | {"Tracing": "PassThrough"}
    chosen = {"ReadsPayloads", "IsArm", "MakesQueue", "Notifies", "HasKey", "InVpc", "Traces", "AtM3ter"}
    assert template["Conditions"].keys() == chosen


@pytest.mark.parametrize("name", EVERYTHING)
def test_an_option_takes_what_it_is_for(template: dict[str, Any], name: str) -> None:
    parameter = template["Parameters"][name]
    if "AllowedPattern" in parameter:
        assert all(re.search(parameter["AllowedPattern"], value) for value in ("", EVERYTHING[name]))
        assert not re.search(parameter["AllowedPattern"], f"{EVERYTHING[name]} ")
    else:
        assert EVERYTHING[name] in parameter["AllowedValues"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ExistingQueueArn", QUEUE + ".fifo"),
        ("ExistingQueueArn", "https://sqs.eu-west-1.amazonaws.com/111122223333/their-usage"),
        ("AlarmTopicArn", TOPIC + ".fifo"),
        ("AlarmTopicArn", "on-call@example.com"),
        ("KmsKeyArn", "arn:aws:kms:eu-west-1:111122223333:alias/usage"),
        ("KmsKeyArn", "01234567-89ab-cdef-0123-456789abcdef"),
        ("SubnetIds", "subnet-0a1b2c3d, subnet-4e5f6a7b"),
        ("SubnetIds", GROUPS),
        ("SecurityGroupIds", SUBNETS),
    ],
)
def test_an_option_refuses_what_it_is_not_for_and_says_what_was_expected(template: dict[str, Any], name: str, value: str) -> None:
    parameter = template["Parameters"][name]
    assert not re.search(parameter["AllowedPattern"], value)
    assert parameter["ConstraintDescription"].startswith("must be ")


def test_a_fifo_queue_is_refused_with_the_reason(template: dict[str, Any]) -> None:
    said = template["Parameters"]["ExistingQueueArn"]["ConstraintDescription"]
    assert all(words in said for words in (".fifo", "no batching window", "ten messages", "blocks its group"))


# An existing queue.


def test_with_an_existing_queue_none_is_made_and_nothing_of_theirs_is_changed(template: dict[str, Any]) -> None:
    own, theirs = resolved(template), resolved(template, ExistingQueueArn=QUEUE)
    assert own["Resources"].keys() - theirs["Resources"].keys() == {"Queue", "QueuePolicy"}
    assert theirs["Resources"].keys() <= own["Resources"].keys()
    # Nothing refers to the one that is not made. (A notification of S3 has a property of that name.)
    assert not re.search(r'"Queue(\.\w+)?"(?!:)|\$\{Queue[.}]', json.dumps([theirs["Resources"], theirs["Outputs"]]))


def test_an_existing_queue_is_read_braked_watched_and_named_where_the_own_one_would_be(template: dict[str, Any]) -> None:
    theirs = resolved(template, ExistingQueueArn=QUEUE)
    assert properties(theirs, "QueueToFunction")["EventSourceArn"] == QUEUE
    drain = next(statement for statement in statements(theirs, "Function") if statement["Sid"] == "DrainTheQueueAndBrake")
    assert drain["Resource"] == QUEUE
    assert properties(theirs, "DeadLetterQueue")["RedriveAllowPolicy"]["sourceQueueArns"] == [QUEUE]
    address = properties(theirs, "Function")["Environment"]["Variables"]["QUEUE_URL"]
    assert address == theirs["Outputs"]["QueueUrl"]["Value"]
    assert theirs["Outputs"]["QueueArn"]["Value"] == QUEUE
    # The colons behind it: CloudFormation looks at both branches of an If, and an empty text has no sixth part.
    parts = {"Fn::Split": [":", {"Fn::Sub": "${ExistingQueueArn}:::::"}]}
    name = {"Fn::Select": [5, parts]}
    text, values = address["Fn::Sub"]
    assert text == "https://sqs.${AWS::Region}.${AWS::URLSuffix}/${Account}/${Name}"
    assert values == {"Account": {"Fn::Select": [4, parts]}, "Name": name}
    assert (QUEUE + ":::::").split(":")[4:6] == ["111122223333", "their-usage"]
    watched = [
        metric for alarm in stack.alarms(theirs).values() for metric in stack.watched(alarm) if metric.namespace == "AWS/SQS"
    ]
    assert len(watched) == 8
    assert [metric.dimensions["QueueName"] for metric in watched].count(name) == 4
    assert properties(theirs, "Dashboard")["DashboardBody"]["Fn::Sub"][1]["QueueName"] == name


# A key of one's own.


def test_everything_that_rests_is_encrypted_by_aws_or_by_the_chosen_key_and_never_by_two(template: dict[str, Any]) -> None:
    own, theirs = resolved(template), resolved(template, KmsKeyArn=KEY)
    for name, property_name in ENCRYPTED.items():
        assert property_name not in properties(own, name)
        assert properties(theirs, name)[property_name] == KEY
    for name in ("Queue", "DeadLetterQueue", "UploadQueue", "UploadDeadLetterQueue"):
        # SQS refuses both at once.
        assert (properties(own, name)["SqsManagedSseEnabled"], properties(theirs, name)["SqsManagedSseEnabled"]) == (True, False)
    rules = [properties(made, "StoreBucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"] for made in (own, theirs)]
    assert rules == [
        [{"BucketKeyEnabled": False, "ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
        [{"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}],
    ]
    # Nothing else that is made here holds anything.
    holding = ("AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup")
    assert {name for name, made in own["Resources"].items() if made["Type"] in holding} == {*ENCRYPTED, "StoreBucket"}


# What the roles may do.


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_a_role_gets_what_an_option_needs_and_only_then(template: dict[str, Any], function: str) -> None:
    always = _sids(resolved(template), function)
    assert not always & {"UseTheKey", *ON_EVERY_RESOURCE}
    for chosen, sid in (
        ({"KmsKeyArn": KEY}, "UseTheKey"),
        ({"SubnetIds": SUBNETS, "SecurityGroupIds": GROUPS}, "HaveLambdaConnectItToTheVpc"),
        ({"Tracing": "Active"}, "WriteTraces"),
    ):
        assert _sids(resolved(template, **chosen), function) - always == {sid}


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_with_every_option_a_role_names_its_actions_and_two_statements_alone_are_for_every_resource(
    template: dict[str, Any], function: str
) -> None:
    everything = {statement["Sid"]: statement for statement in statements(resolved(template, **EVERYTHING), function)}
    assert all("*" not in action for statement in everything.values() for action in _listed(statement["Action"]))
    for_all = {sid: statement["Action"] for sid, statement in everything.items() if statement["Resource"] == "*"}
    assert for_all == ON_EVERY_RESOURCE
    assert everything["UseTheKey"]["Resource"] == KEY
    assert everything["UseTheKey"]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# VPC and tracing.


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_a_function_is_in_the_vpc_if_subnets_and_groups_are_named(template: dict[str, Any], function: str) -> None:
    assert "VpcConfig" not in properties(resolved(template), function)
    split = {name: {"Fn::Split": [",", value]} for name, value in (("SubnetIds", SUBNETS), ("SecurityGroupIds", GROUPS))}
    both = resolved(template, SubnetIds=SUBNETS, SecurityGroupIds=GROUPS)
    assert properties(both, function)["VpcConfig"] == split


def test_half_a_vpc_is_refused_with_what_is_missing(template: dict[str, Any]) -> None:
    assert refused(template) == refused(template, SubnetIds=SUBNETS, SecurityGroupIds=GROUPS) == []
    assert refused(template, SubnetIds=SUBNETS) == ["SubnetIds needs SecurityGroupIds beside it."]
    assert refused(template, SecurityGroupIds=GROUPS) == ["SecurityGroupIds needs SubnetIds beside it."]


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_a_function_is_traced_only_if_asked(template: dict[str, Any], function: str) -> None:
    asked = [properties(resolved(template, **chosen), function)["Tracing"] for chosen in ({}, {"Tracing": "Active"})]
    assert asked == ["PassThrough", "Active"]


# Alarms.


def test_every_alarm_tells_the_topic_when_it_rings_and_when_it_is_over_if_there_is_one(template: dict[str, Any]) -> None:
    for alarm in stack.alarms(resolved(template)).values():
        assert not {"AlarmActions", "OKActions", "InsufficientDataActions"} & alarm.keys()
    for name, alarm in stack.alarms(resolved(template, AlarmTopicArn=TOPIC)).items():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == ([TOPIC], [TOPIC]), name


def test_every_alarm_is_made_but_where_the_sandbox_is_in_m3ters_place(template: dict[str, Any]) -> None:
    everywhere, sandboxed = resolved(template), resolved(template, M3terOrgId="sandbox-org")
    assert everywhere["Resources"].keys() - sandboxed["Resources"].keys() == {"NothingTakesMessagesAlarm"}
    assert stack.alarms(everywhere).keys() == stack.alarms(template).keys()
