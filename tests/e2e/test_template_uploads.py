"""What `template.yaml` says of files: how S3 tells of them, who may do what to them, and when somebody hears of one."""

from typing import Any

import pytest

from tests.e2e import template as stack
from tests.e2e.template import properties, resolved, statements

FOURTEEN_DAYS_S = 14 * 24 * 3600
"""The longest SQS keeps a message."""

INSTANCE = {"Fn::Select": [0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}]}
"""A part of the stack's id."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return stack.load()


@pytest.fixture(scope="module")
def default(template: dict[str, Any]) -> dict[str, Any]:
    """What a stack has for which nothing was chosen."""
    return resolved(template)


def test_s3_tells_of_what_lies_below_uploads_and_of_nothing_else(default: dict[str, Any]) -> None:
    told = properties(default, "StoreBucket")["NotificationConfiguration"]
    # Else the function would hear of journals and ledger, which it writes itself.
    below = {"S3Key": {"Rules": [{"Name": "prefix", "Value": "uploads/"}]}}
    queue = {"Fn::GetAtt": "UploadQueue.Arn"}
    assert told == {"QueueConfigurations": [{"Event": "s3:ObjectCreated:*", "Queue": queue, "Filter": below}]}
    # S3 tries whether it may send when it is told of the queue.
    assert default["Resources"]["StoreBucket"]["DependsOn"] == "UploadQueuePolicy"


def test_s3_alone_may_tell_and_for_this_account_alone(default: dict[str, Any]) -> None:
    _, tells = properties(default, "UploadQueuePolicy")["PolicyDocument"]["Statement"]
    assert tells == {
        "Sid": "S3TellsOfFiles",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": {"Fn::GetAtt": "UploadQueue.Arn"},
        # Not by the bucket's ARN: each of the two would have to be there before the other.
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }


@pytest.mark.parametrize("name", ["UploadQueue", "UploadDeadLetterQueue"])
def test_a_queue_of_files_keeps_each_message_as_long_as_sqs_can(default: dict[str, Any], name: str) -> None:
    queue = properties(default, name)
    assert queue["MessageRetentionPeriod"] == FOURTEEN_DAYS_S
    assert queue["SqsManagedSseEnabled"] is True and "FifoQueue" not in queue


def test_a_file_is_waited_for_as_often_as_sqs_allows_and_its_message_goes_to_its_own_dead_letter_queue(
    default: dict[str, Any],
) -> None:
    queue, dead = properties(default, "UploadQueue"), properties(default, "UploadDeadLetterQueue")
    target = {"Fn::GetAtt": "UploadDeadLetterQueue.Arn"}
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": target, "maxReceiveCount": 1_000}
    allowed = dead["RedriveAllowPolicy"]
    [(text, names)] = [source["Fn::Sub"] for source in allowed["sourceQueueArns"]]
    name, same = queue["QueueName"]["Fn::Sub"]
    assert allowed["redrivePermission"] == "byQueue"
    assert text == "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:" + name
    assert names == same == {"Instance": INSTANCE}
    assert len(name.replace("${AWS::StackName}", "x" * 64).replace("${Instance}", "x" * 8)) <= 80


def test_a_file_whose_invocation_died_is_gone_on_with_soon_and_never_while_the_invocation_lives(default: dict[str, Any]) -> None:
    function, mapping = properties(default, "BulkUploadFunction"), properties(default, "UploadQueueToFunction")
    assert function["Timeout"] == 900
    assert function["Timeout"] < properties(default, "UploadQueue")["VisibilityTimeout"] <= function["Timeout"] + 60
    assert mapping["BatchSize"] == 1 and "MaximumBatchingWindowInSeconds" not in mapping
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}


def _resources(default: dict[str, Any], action: str) -> list[str]:
    found = []
    for statement in statements(default, "BulkUploadFunction"):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if action in actions:
            resources = statement["Resource"]
            found += resources if isinstance(resources, list) else [resources]
    return [resource.get("Fn::Sub") or resource["Fn::GetAtt"] for resource in found]


def test_the_function_may_read_files_and_journals_write_reports_and_the_store_and_delete_no_file(default: dict[str, Any]) -> None:
    store = "${StoreBucket.Arn}"
    assert _resources(default, "s3:GetObject") == [f"{store}/uploads/*", f"{store}/relay/upload-journals/*"]
    written = ["uploads/*.report.json", "relay/upload-journals/*", "relay/ledger/*", "relay/quarantine/*"]
    assert _resources(default, "s3:PutObject") == [f"{store}/{place}" for place in written]
    assert _resources(default, "s3:DeleteObject") == [f"{store}/relay/upload-journals/*"]
    assert _resources(default, "s3:AbortMultipartUpload") == _resources(default, "s3:DeleteObject")
    [listing] = [one for one in statements(default, "BulkUploadFunction") if one["Action"] == "s3:ListBucket"]
    assert "Condition" not in listing
    allowed = {action for one in statements(default, "BulkUploadFunction") for action in _listed(one["Action"])}
    assert allowed == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibility",
        "secretsmanager:GetSecretValue",
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    assert _resources(default, "sqs:ReceiveMessage") == ["UploadQueue.Arn"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(("name", "metric"), [("UploadsFailed", "UploadsFailed"), ("UploadRowsQuarantined", "UploadQuarantined")])
def test_a_file_that_did_not_go_well_rings_the_first_time(template: dict[str, Any], name: str, metric: str) -> None:
    alarm = stack.alarms(template)[f"{name}Alarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == (metric, "Sum", 0)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")


def test_a_file_that_cannot_go_on_rings_although_it_is_tried_only_every_quarter_of_an_hour(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["UploadsStuckAlarm"]
    assert (alarm["MetricName"], alarm["Period"], alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (
        "UploadsStuck",
        900,
        4,
        2,
    )


def test_a_file_rings_when_it_takes_longer_than_m3ter_needs_and_before_its_queue_gives_it_up(template: dict[str, Any]) -> None:
    waits, takes_long = (stack.alarms(template)[name] for name in ("UploadsWaitAlarm", "UploadTakesLongAlarm"))
    # Three deliveries that all take as long as they may, and the longest waits between them: only so many count here.
    assert waits["Threshold"] > 3 * (900 + 900)
    assert (takes_long["MetricName"], takes_long["Threshold"]) == ("OldestReturnedAge", 24 * 3600 * 1000)
    given_up_s = 1_000 * 900
    assert takes_long["Threshold"] / 1000 < given_up_s < FOURTEEN_DAYS_S


def test_a_file_that_was_given_up_rings_until_somebody_takes_its_message(template: dict[str, Any]) -> None:
    alarm = stack.alarms(template)["UploadDeadLettersAlarm"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": "UploadDeadLetterQueue.QueueName"}}]
