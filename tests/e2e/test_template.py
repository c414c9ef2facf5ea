"""What decides loss in `template.yaml`, and what cfn-lint does not look at. What can be switched on is in test_options.py."""

import re
from typing import Any

import pytest

from infra.local.settings import ROOT, TEMPLATE
from tests.e2e.template import FUNCTIONS, load, resolved
from tests.e2e.template import properties as _properties
from tests.e2e.template import statements as _statements

FOURTEEN_DAYS_S = 14 * 24 * 3600
"""The longest SQS keeps a message."""

MAPPINGS = {
    "Queue": "QueueToFunction",
    "DeadLetterQueue": "DeadLetterQueueToFunction",
    "UploadQueue": "UploadQueueToFunction",
}
"""The queues, and the mappings that read them."""

SETTINGS_FROM_RESOURCES = {"M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL"}
"""Settings that no one chooses: the template fills them in."""

PARAMETERS_OF_THE_TEMPLATE = {
    "BatchingWindowSeconds",
    "FunctionTimeoutSeconds",
    "WatchMinutes",
    "LedgerRetentionDays",
    "LogRetentionDays",
    "Architecture",
    "ExistingQueueArn",
    "AlarmTopicArn",
    "KmsKeyArn",
    "SubnetIds",
    "SecurityGroupIds",
    "Tracing",
}
"""Parameters that the function never sees."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template, as data."""
    return load()


@pytest.fixture(scope="module")
def default(template: dict[str, Any]) -> dict[str, Any]:
    """What a stack has for which nothing was chosen."""
    return resolved(template)


def test_the_template_can_be_handed_over_from_a_bucket() -> None:
    # CloudFormation takes 51,200 bytes in a request and 1 MB from a bucket. Everything here hands it over from a bucket: `sam
    # deploy`, Terraform and the local set-up. Half of it is room for what the SAM transform adds.
    assert len(TEMPLATE.read_bytes()) <= 500_000


def test_the_template_names_the_version_of_the_workspace_and_files_that_are_there(template: dict[str, Any]) -> None:
    about = template["Metadata"]["AWS::ServerlessRepo::Application"]
    version = re.search(r'^\[workspace\.package\]\nversion = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version and about["SemanticVersion"] == version.group(1)
    assert all((ROOT / about[name]).is_file() for name in ("LicenseUrl", "ReadmeUrl"))
    assert re.search(rf'^license = "{about["SpdxLicenseId"]}"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)


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


@pytest.mark.parametrize(("queue", "mapping"), MAPPINGS.items())
def test_lambda_deletes_only_what_the_function_did_not_return(default: dict[str, Any], queue: str, mapping: str) -> None:
    assert _properties(default, mapping)["EventSourceArn"] == {"Fn::GetAtt": f"{queue}.Arn"}
    assert _properties(default, mapping)["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_dead_letter_queues_timeouts_fit_each_other(template: dict[str, Any]) -> None:
    queue, function = _properties(template, "DeadLetterQueue"), _properties(template, "DeadLetterFunction")
    mapping = _properties(template, "DeadLetterQueueToFunction")
    window = mapping["MaximumBatchingWindowInSeconds"]
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"] + window
    assert mapping["BatchSize"] <= 10 or window >= 1
    # Nothing gives up what the dead-letter queue holds: what cannot be stored stays until it can.
    assert "RedrivePolicy" not in queue


def test_only_the_mapping_limits_concurrency(template: dict[str, Any]) -> None:
    mapping = _properties(template, "QueueToFunction")
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaximumConcurrency"}}
    assert "ProvisionedPollerConfig" not in mapping
    assert "ReservedConcurrentExecutions" not in _properties(template, "Function")


@pytest.mark.parametrize("name", ["Queue", "DeadLetterQueue"])
def test_a_queue_keeps_every_message_as_long_as_sqs_can(default: dict[str, Any], name: str) -> None:
    # The dead-letter queue's time counts from the first send, too. A shorter one for the queue would not leave more of it: it
    # would only drop, a day sooner, what nobody received.
    queue = _properties(default, name)
    assert queue["MessageRetentionPeriod"] == FOURTEEN_DAYS_S
    assert queue["MaximumMessageSize"] == 1024 * 1024
    assert queue["SqsManagedSseEnabled"] is True and "KmsMasterKeyId" not in queue
    assert "FifoQueue" not in queue and ".fifo" not in str(queue.get("QueueName"))


def test_only_the_queue_may_put_dead_letters_into_the_dead_letter_queue(default: dict[str, Any]) -> None:
    allowed = _properties(default, "DeadLetterQueue")["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    [(text, names)] = [source["Fn::Sub"] for source in allowed["sourceQueueArns"]]
    # Its name is known beforehand, or each of the two queues would have to be there before the other. It is the same in both.
    name, same = _properties(default, "Queue")["QueueName"]["Fn::Sub"]
    assert text == "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:" + name
    assert names == same
    # A part of the stack's id: arn:aws:cloudformation:REGION:ACCOUNT:stack/NAME/GUID. A stack that is deleted leaves its queue
    # behind, and one that is made again under its name has another id.
    instance = {"Fn::Select": [0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}]}
    assert names == {"Instance": instance}
    assert len(name.replace("${AWS::StackName}", "x" * 64).replace("${Instance}", "x" * 8)) <= 80


def test_a_message_is_received_as_often_as_sqs_allows_before_it_is_a_dead_letter(template: dict[str, Any]) -> None:
    target = {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert _properties(template, "Queue")["RedrivePolicy"] == {"deadLetterTargetArn": target, "maxReceiveCount": 1_000}


@pytest.mark.parametrize(
    "name", ["Queue", "QueuePolicy", "DeadLetterQueue", "DeadLetterQueuePolicy", "StoreBucket", "StoreBucketPolicy"]
)
def test_deleting_or_replacing_the_stack_keeps_what_holds_usage(template: dict[str, Any], name: str) -> None:
    assert template["Resources"][name]["DeletionPolicy"] == "Retain"
    assert template["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def test_nothing_that_is_kept_has_no_word_about_what_becomes_of_it(template: dict[str, Any]) -> None:
    kept = {"AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"}
    for name, resource in template["Resources"].items():
        if resource["Type"] in kept:
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] and resource["DeletionPolicy"] in (
                "Retain",
                "Delete",
            ), name


def test_no_bucket_is_public(template: dict[str, Any]) -> None:
    blocks = _properties(template, "StoreBucket")["PublicAccessBlockConfiguration"]
    assert len(blocks) == 4
    assert all(value is True for value in blocks.values())
    assert _properties(template, "StoreBucket")["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_in_the_bucket_the_ledger_expires_and_what_was_overwritten_and_nothing_of_the_quarantine(default: dict[str, Any]) -> None:
    bucket = _properties(default, "StoreBucket")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    # Nothing expires below uploads/: those files are somebody's own.
    assert rules.keys() == {"ledger", "journals", "leftovers"}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert rules["ledger"]["Prefix"] == "relay/ledger/" and rules["ledger"]["ExpirationInDays"] == "400"
    # A journal that expired would let a file be sent once more that m3ter has forgotten.
    gone = {"Id": "journals", "Status": "Enabled", "Prefix": "relay/upload-journals/"}
    assert rules["journals"] == gone | {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    # What holds for all of the bucket says nothing about what is current.
    assert rules["leftovers"].keys() - {"Id", "Status"} == {
        "NoncurrentVersionExpiration",
        "ExpiredObjectDeleteMarker",
        "AbortIncompleteMultipartUpload",
    }
    assert rules["leftovers"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


TLS_ONLY = {
    "QueuePolicy": "Queue",
    "DeadLetterQueuePolicy": "DeadLetterQueue",
    "StoreBucketPolicy": "StoreBucket",
    "UploadQueuePolicy": "UploadQueue",
    "UploadDeadLetterQueuePolicy": "UploadDeadLetterQueue",
}
"""The policies of what holds usage, and what each is for."""


@pytest.mark.parametrize(("policy", "name"), TLS_ONLY.items())
def test_nobody_reaches_usage_without_tls(default: dict[str, Any], policy: str, name: str) -> None:
    bucket = name == "StoreBucket"
    place = {"Fn::GetAtt": f"{name}.Arn"}
    assert _properties(default, policy)["Bucket" if bucket else "Queues"] == ({"Ref": name} if bucket else [{"Ref": name}])
    statement, *more = _properties(default, policy)["PolicyDocument"]["Statement"]
    assert bool(more) == (name == "UploadQueue")
    assert statement == {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        # A list of actions would let through whichever is missing in it. It refuses, so a wildcard grants nothing.
        "Action": "s3:*" if bucket else "sqs:*",
        "Resource": [place, {"Fn::Sub": f"${{{name}.Arn}}/*"}] if bucket else place,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_no_other_policy_hangs_on_a_resource(template: dict[str, Any]) -> None:
    policies = {name for name, resource in template["Resources"].items() if resource["Type"].endswith("Policy")}
    assert policies == TLS_ONLY.keys()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_the_role_names_every_action_and_every_resource(template: dict[str, Any], default: dict[str, Any], function: str) -> None:
    role = _properties(template, f"{function}Role")
    assert "ManagedPolicyArns" not in role
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]
    for statement in _statements(default, function):
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & statement.keys()
        for action in _as_list(statement["Action"]):
            assert "*" not in action
        for resource in _as_list(statement["Resource"]):
            # A resource of this stack, by reference; at most everything below one of them.
            place = resource.get("Fn::GetAtt") or resource["Fn::Sub"]
            below = r"(/relay/([a-z-]+/)?|/uploads/|:log-stream:)\*(\.report\.json)?$"
            assert re.sub(below, "", place).count("*") == 0


def _allowed(template: dict[str, Any], function: str) -> set[str]:
    return {action for statement in _statements(template, function) for action in _as_list(statement["Action"])}


def test_the_role_allows_what_the_relay_does_and_no_more(template: dict[str, Any]) -> None:
    assert _allowed(template, "Function") == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibility",
        "secretsmanager:GetSecretValue",
        "s3:GetObject",
        "s3:PutObject",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_of_the_store_the_relay_may_read_the_catalogue_alone(template: dict[str, Any]) -> None:
    reading = [statement for statement in _statements(template, "Function") if "s3:GetObject" in _as_list(statement["Action"])]
    assert [statement["Resource"] for statement in reading] == [{"Fn::Sub": "${StoreBucket.Arn}/relay/catalogue/*"}]


def test_only_with_payload_buckets_may_the_relay_read_other_objects_and_only_there(template: dict[str, Any]) -> None:
    [policy] = _properties(template, "FunctionRole")["Policies"]
    optional = [statement["Fn::If"] for statement in policy["PolicyDocument"]["Statement"] if "Fn::If" in statement]
    optional = [choice for choice in optional if choice[0] == "ReadsPayloads"]
    assert template["Conditions"]["ReadsPayloads"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "PayloadBuckets"}, ""]}]}
    assert [(condition, otherwise) for condition, _, otherwise in optional] == [("ReadsPayloads", {"Ref": "AWS::NoValue"})] * 2
    assert {statement["Action"] for _, statement, _ in optional} == {"s3:GetObject", "s3:ListBucket"}
    for _, statement, _ in optional:
        assert statement["Effect"] == "Allow"
        separator, joined = statement["Resource"]["Fn::Split"]
        empty, parts = joined["Fn::Join"]
        assert (separator, empty, parts[0]) == (",", "", "arn:aws:s3:::")
        assert parts[1]["Fn::Join"][1] == {"Fn::Split": [",", {"Ref": "PayloadBuckets"}]}


def test_the_dead_letter_function_may_only_drain_its_queue_and_write_the_store_and_its_log(template: dict[str, Any]) -> None:
    assert _allowed(template, "DeadLetterFunction") == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "s3:PutObject",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    resources = {statement["Sid"]: statement["Resource"] for statement in _statements(template, "DeadLetterFunction")}
    assert resources["DrainTheDeadLetterQueue"] == {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert resources["WriteTheStore"] == {"Fn::Sub": "${StoreBucket.Arn}/relay/*"}
    assert "${DeadLetterFunctionLogGroup}" in resources["WriteTheLog"]["Fn::Sub"]


def test_the_function_that_watches_may_read_five_folders_write_three_and_ask_m3ter(template: dict[str, Any]) -> None:
    assert _allowed(template, "IngestWatchFunction") == {
        "secretsmanager:GetSecretValue",
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    statements = {statement["Sid"]: statement for statement in _statements(template, "IngestWatchFunction")}
    assert statements["ReadCredentials"]["Resource"] == {"Fn::GetAtt": "Secret.Id"}
    assert statements["ListTheStore"]["Resource"] == {"Fn::GetAtt": "StoreBucket.Arn"}
    # A question for one object has no prefix, and what is not there must be told from what is forbidden.
    assert "Condition" not in statements["ListTheStore"]
    # Never the ledger, and no operator's marker: what the watch learns cannot change what was sent or decided.
    written = ("quarantine", "watch", "catalogue")
    for sid, action, names in (
        ("ReadTheStore", "s3:GetObject", {"actions", "ledger", *written}),
        ("WriteWhatItLearns", "s3:PutObject", set(written)),
    ):
        assert statements[sid]["Action"] == action
        resources = {resource["Fn::Sub"] for resource in statements[sid]["Resource"]}
        assert resources == {f"${{StoreBucket.Arn}}/relay/{name}/*" for name in names}
    assert "${IngestWatchFunctionLogGroup}" in statements["WriteTheLog"]["Resource"]["Fn::Sub"]


def test_m3ter_is_watched_every_so_many_minutes_by_nobody_but_its_schedule(template: dict[str, Any]) -> None:
    rule = _properties(template, "IngestWatchSchedule")
    assert rule["ScheduleExpression"] == {"Fn::Sub": "rate(${WatchMinutes} minutes)"}
    assert [target["Arn"] for target in rule["Targets"]] == [{"Fn::GetAtt": "IngestWatchFunction.Arn"}]
    permission = _properties(template, "IngestWatchScheduleMayInvoke")
    assert permission["FunctionName"] == {"Ref": "IngestWatchFunction"}
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": "IngestWatchSchedule.Arn"}
    parameter = template["Parameters"]["WatchMinutes"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("5", ["5", "10", "15", "30", "60"])
    # A look is over before the next one is due. (A rate of one would have to be written `1 minute`.)
    shortest = min(map(int, parameter["AllowedValues"]))
    assert _properties(template, "IngestWatchFunction")["Timeout"] < 60 * shortest
    assert shortest > 1


@pytest.mark.parametrize("name", FUNCTIONS.values())
def test_sam_adds_no_policy_of_its_own(template: dict[str, Any], name: str) -> None:
    function = _properties(template, name)
    assert function["Role"] == {"Fn::GetAtt": f"{name}Role.Arn"}
    assert not {"Events", "Policies", "Connectors"} & function.keys()


def test_no_parameter_takes_a_secret(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        # The ARN of a key opens nothing.
        assert name == "KmsKeyArn" or not re.search(r"secret|password|token|key", name, re.IGNORECASE)
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


def _is_a_number(parameter: dict[str, Any]) -> bool:
    """Whether it is one, also where it is written as text, to be a key of a mapping."""
    return parameter["Type"] == "Number" or all(str(value).isdigit() for value in parameter.get("AllowedValues", ["none"]))


def test_a_parameter_that_is_a_number_says_what_more_and_less_do(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    numbers = [name for name, parameter in template["Parameters"].items() if _is_a_number(parameter)]
    assert {*groups[1]["Parameters"], "ExhaustAfterDays", "LedgerRetentionDays", "LogRetentionDays"} <= set(numbers)
    for name in numbers:
        assert re.search(r"\bMore\b.*\bless\b", template["Parameters"][name]["Description"], re.DOTALL), name


def _ours(variables: dict[str, Any]) -> dict[str, Any]:
    # What glibc reads is no setting of ours.
    return {name: value for name, value in variables.items() if not name.startswith("MALLOC_")}


def _setting(parameter: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()


def test_parameters_and_the_functions_settings_are_one_set(template: dict[str, Any]) -> None:
    variables = _ours(_properties(template, "Function")["Environment"]["Variables"])
    chosen = {_setting(name): {"Ref": name} for name in template["Parameters"].keys() - PARAMETERS_OF_THE_TEMPLATE}
    assert {name: value for name, value in variables.items() if name not in SETTINGS_FROM_RESOURCES} == chosen
    assert variables.keys() >= SETTINGS_FROM_RESOURCES


def test_a_look_that_failed_is_made_up_for_by_the_next_one_alone(template: dict[str, Any]) -> None:
    # Lambda would try again a minute later, and two after that: beside the next look, which is due.
    assert _properties(template, "IngestWatchFunction")["EventInvokeConfig"] == {"MaximumRetryAttempts": 0}
    assert [name for name in FUNCTIONS.values() if "EventInvokeConfig" in _properties(template, name)] == ["IngestWatchFunction"]


@pytest.mark.parametrize("name", FUNCTIONS.values())
def test_a_function_logs_json_into_a_group_that_does_not_keep_it_for_ever(template: dict[str, Any], name: str) -> None:
    group = f"{name}LogGroup"
    assert _properties(template, name)["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": {"Ref": group}}
    assert _properties(template, group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize(("package", "name"), FUNCTIONS.items())
def test_the_template_sets_exactly_what_the_function_reads(template: dict[str, Any], package: str, name: str) -> None:
    config = (ROOT / "functions" / package / "src" / "config.rs").read_text()
    read = set(re.findall(r'\("([A-Z0-9_]+)", (?:None|Some)\b', config))
    assert read == _ours(_properties(template, name)["Environment"]["Variables"]).keys()


@pytest.mark.parametrize(("package", "name"), FUNCTIONS.items())
def test_a_functions_files_are_where_the_make_target_puts_them(template: dict[str, Any], package: str, name: str) -> None:
    assert _properties(template, name)["CodeUri"] == f"target/lambda/{package}.zip"
    assert _properties(template, name)["Handler"] == "bootstrap"
    assert re.search(rf"^FUNCTIONS := .*\b{package}\b", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_outputs_are_what_the_next_command_needs(template: dict[str, Any]) -> None:
    needed = {"QueueUrl", "DeadLetterQueueUrl", "StoreUrl", "SecretArn", "FunctionName", "LogGroupName"}
    needed |= {
        f"{which}{kind}" for which in ("DeadLetter", "IngestWatch", "BulkUpload") for kind in ("FunctionName", "LogGroupName")
    }
    needed |= {"DashboardName", "QueueArn", "DeadLetterQueueArn", "UploadsUrl", "UploadQueueUrl", "UploadDeadLetterQueueUrl"}
    assert template["Outputs"].keys() == needed


def test_every_check_that_is_skipped_is_a_single_one_and_says_why() -> None:
    text = TEMPLATE.read_text()
    skipped = re.findall(r"^    # checkov:skip=(CKV_AWS_[0-9]+):(\S.{10,})$", text, re.MULTILINE)
    assert len(skipped) == text.count("checkov:skip") > 10
    assert "cfn-lint" not in text and "checkov" not in (ROOT / "samconfig.toml").read_text()


def test_samconfig_is_about_this_template_and_leaves_what_is_yours_to_you(template: dict[str, Any]) -> None:
    text = (ROOT / "samconfig.toml").read_text()
    [overrides] = re.findall(r'^# parameter_overrides = "(.*)"$', text, re.MULTILINE)
    given = dict(pair.split("=") for pair in overrides.split())
    assert given.keys() <= template["Parameters"].keys()
    assert {name for name, parameter in template["Parameters"].items() if "Default" not in parameter} <= given.keys()
    assert 'capabilities = "CAPABILITY_IAM"' in text and re.search(r"^resolve_s3 = true\b", text, re.MULTILINE)
    [stack_name] = re.findall(r'^stack_name = "(.*)"', text, re.MULTILINE)
    assert len(stack_name) <= 40 and re.search(r'^# region = "', text, re.MULTILINE)
