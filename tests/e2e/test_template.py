"""What decides loss in `template.yaml`, and what cfn-lint does not look at."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from infra.local.settings import ROOT, TEMPLATE

FOURTEEN_DAYS_S = 14 * 24 * 3600
"""The longest SQS keeps a message."""

SETTINGS_FROM_RESOURCES = {"M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL"}
"""Settings that no one chooses: the template fills them in."""

PARAMETERS_OF_THE_TEMPLATE = {"BatchingWindowSeconds", "FunctionTimeoutSeconds", "LogRetentionDays", "Architecture"}
"""Parameters that the function never sees."""


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as their long ones: `!Ref X` as `{"Ref": "X"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {name: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader=_Loader)
    return found


def _properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def test_the_visibility_timeout_is_six_times_the_timeout_plus_the_window_for_every_choice(template: dict[str, Any]) -> None:
    sums = template["Mappings"]["VisibilityTimeoutSeconds"]
    timeouts = template["Parameters"]["FunctionTimeoutSeconds"]["AllowedValues"]
    windows = template["Parameters"]["BatchingWindowSeconds"]["AllowedValues"]
    assert sums == {timeout: {window: 6 * int(timeout) + int(window) for window in windows} for timeout in timeouts}
    lookup = ["VisibilityTimeoutSeconds", {"Ref": "FunctionTimeoutSeconds"}, {"Ref": "BatchingWindowSeconds"}]
    assert _properties(template, "Queue")["VisibilityTimeout"] == {"Fn::FindInMap": lookup}
    assert _properties(template, "Function")["Timeout"] == {"Ref": "FunctionTimeoutSeconds"}
    assert _properties(template, "QueueToFunction")["MaximumBatchingWindowInSeconds"] == {"Ref": "BatchingWindowSeconds"}


def test_a_batch_above_ten_messages_has_a_window_of_at_least_a_second(template: dict[str, Any]) -> None:
    assert _properties(template, "QueueToFunction")["BatchSize"] == 10_000
    assert min(map(int, template["Parameters"]["BatchingWindowSeconds"]["AllowedValues"])) >= 1


def test_lambda_deletes_only_what_the_function_did_not_return(template: dict[str, Any]) -> None:
    assert _properties(template, "QueueToFunction")["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_only_the_mapping_limits_concurrency(template: dict[str, Any]) -> None:
    mapping = _properties(template, "QueueToFunction")
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaximumConcurrency"}}
    assert "ProvisionedPollerConfig" not in mapping
    assert "ReservedConcurrentExecutions" not in _properties(template, "Function")


@pytest.mark.parametrize("name", ["Queue", "DeadLetterQueue"])
def test_a_queue_keeps_every_message_as_long_as_sqs_can(template: dict[str, Any], name: str) -> None:
    queue = _properties(template, name)
    assert queue["MessageRetentionPeriod"] == FOURTEEN_DAYS_S
    assert queue["MaximumMessageSize"] == 1024 * 1024
    assert queue["SqsManagedSseEnabled"] is True
    assert "QueueName" not in queue
    assert "FifoQueue" not in queue


def test_a_message_is_received_as_often_as_sqs_allows_before_it_is_a_dead_letter(template: dict[str, Any]) -> None:
    target = {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert _properties(template, "Queue")["RedrivePolicy"] == {"deadLetterTargetArn": target, "maxReceiveCount": 1_000}


@pytest.mark.parametrize("name", ["Queue", "DeadLetterQueue", "StoreBucket"])
def test_deleting_or_replacing_the_stack_keeps_what_holds_usage(template: dict[str, Any], name: str) -> None:
    assert template["Resources"][name]["DeletionPolicy"] == "Retain"
    assert template["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def test_no_bucket_is_public(template: dict[str, Any]) -> None:
    blocks = _properties(template, "StoreBucket")["PublicAccessBlockConfiguration"]
    assert len(blocks) == 4
    assert all(value is True for value in blocks.values())


def _statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for policy in _properties(template, "FunctionRole")["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_role_names_every_action_and_every_resource(template: dict[str, Any]) -> None:
    role = _properties(template, "FunctionRole")
    assert "ManagedPolicyArns" not in role
    for statement in _statements(template):
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & statement.keys()
        for action in _as_list(statement["Action"]):
            assert "*" not in action
        for resource in _as_list(statement["Resource"]):
            # A resource of this stack, by reference; at most everything below one of them.
            place = resource.get("Fn::GetAtt") or resource["Fn::Sub"]
            assert place.removesuffix("/relay/*").removesuffix(":log-stream:*").count("*") == 0


def test_the_role_allows_what_the_relay_does_and_no_more(template: dict[str, Any]) -> None:
    allowed = {action for statement in _statements(template) for action in _as_list(statement["Action"])}
    assert allowed == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibility",
        "secretsmanager:GetSecretValue",
        "s3:PutObject",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_sam_adds_no_policy_of_its_own(template: dict[str, Any]) -> None:
    function = _properties(template, "Function")
    assert function["Role"] == {"Fn::GetAtt": "FunctionRole.Arn"}
    assert not {"Events", "Policies", "Connectors"} & function.keys()


def test_no_parameter_takes_a_secret(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        assert not re.search(r"secret|password|token|key", name, re.IGNORECASE)
        assert "NoEcho" not in parameter
    placeholder = _properties(template, "Secret")
    assert "SecretString" not in placeholder
    assert placeholder["GenerateSecretString"]["GenerateStringKey"] == "api_secret"


def test_every_parameter_is_bounded_explained_and_in_one_group(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert [group["Label"]["default"] for group in groups] == ["Required", "Tuning", "Optional"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert len(parameter["Description"]) > 40, name
        bounded = {"AllowedValues", "AllowedPattern"} & parameter.keys() or {"MinValue", "MaxValue"} <= parameter.keys()
        assert bounded, name
        assert (name in groups[0]["Parameters"]) == ("Default" not in parameter), f"{name}: required means without a default"


def test_a_tuning_parameter_says_what_more_and_less_do(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    for name in groups[1]["Parameters"]:
        assert re.search(r"\bMore\b.*\bless\b", template["Parameters"][name]["Description"]), name


def _setting(parameter: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()


def test_parameters_and_the_functions_settings_are_one_set(template: dict[str, Any]) -> None:
    variables = _properties(template, "Function")["Environment"]["Variables"]
    chosen = {_setting(name): {"Ref": name} for name in template["Parameters"].keys() - PARAMETERS_OF_THE_TEMPLATE}
    assert {name: value for name, value in variables.items() if name not in SETTINGS_FROM_RESOURCES} == chosen
    assert variables.keys() >= SETTINGS_FROM_RESOURCES


def test_the_template_sets_exactly_what_the_function_reads(template: dict[str, Any]) -> None:
    config = (ROOT / "functions" / "ingest-relay" / "src" / "config.rs").read_text()
    read = set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', config))
    read = {name for name in read if not name.startswith("AWS_")}  # those come from Lambda
    assert read == _properties(template, "Function")["Environment"]["Variables"].keys()


def test_the_outputs_are_what_the_next_command_needs(template: dict[str, Any]) -> None:
    needed = {"QueueUrl", "DeadLetterQueueUrl", "StoreUrl", "SecretArn", "FunctionName", "LogGroupName"}
    assert template["Outputs"].keys() == needed
